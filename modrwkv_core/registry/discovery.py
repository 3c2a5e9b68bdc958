"""Finds the installed plugins and loads each one in isolation.

The loop is our own because pluggy's loader stops at the first broken plugin and drops the rest. Here every entry point
ends in a state of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from dataclasses import replace

from modrwkv_core.errors import PluginError
from modrwkv_core.registry.catalog import Registry
from modrwkv_core.registry.collect import RefusalError, collect
from modrwkv_core.registry.lifecycle import LifecycleHooks
from modrwkv_core.registry.records import Plugin
from modrwkv_core.registry.requirements import Requirements
from modrwkv_core.registry.scan import Candidate, canonical, scan
from modrwkv_core.registry.settings import CORE, Settings

__all__ = ["discover"]


def discover(
    *, allow: Collection[str] | None = None, disable: Collection[str] = (), prefer: Mapping[str, str] | None = None
) -> Registry:
    """Find and load the plugins of this environment.

    Plugins are named by distribution, or as ``distribution:entry-point`` where one brings several. The core's own
    plugin is always loaded. The environment has its say too: ``MODRWKV_PLUGINS`` and ``MODRWKV_DISABLE_PLUGINS``
    (comma-separated names) restrict further, ``MODRWKV_STRICT_PLUGINS=1`` makes a broken plugin fatal, and
    ``MODRWKV_TRACE_PLUGINS=1`` writes every hook call to stderr. Names that fit no plugin warn.

    Args:
        allow: Load these only; None loads all.
        disable: Do not load these.
        prefer: Which distribution provides a name that several claim, as in ``{"encoder/siglip2": "modrwkv-siglip2"}``.

    Raises:
        PluginError: The core's own plugin is missing or broken; with ``MODRWKV_STRICT_PLUGINS=1``, any is broken.
    """
    settings = Settings(allow, disable)
    candidates = scan()
    settings.warn_of_unknown(candidate.plugin for candidate in candidates)
    lifecycle = LifecycleHooks("modrwkv" if settings.trace else None)
    requirements = Requirements()
    plugins: dict[str, Plugin] = {}
    shadowed: list[Plugin] = []
    for candidate in candidates:
        plugin = candidate.plugin
        refusal = settings.refusal(plugin)
        first = plugins.get(canonical(plugin.name))
        if first is not None:
            reason = f"its metadata in {plugin.location} come after those of {first.version} in {first.location}"
            shadowed.append(replace(plugin, state="shadowed", error=reason))
        elif refusal is not None:
            plugins[canonical(plugin.name)] = replace(plugin, state="disabled", error=refusal)
        else:
            plugins[canonical(plugin.name)] = _load(candidate, requirements, lifecycle, settings.trace)
    _refuse_fatal(plugins, settings.strict)
    return Registry((*plugins.values(), *shadowed), lifecycle, prefer or {})


def _load(candidate: Candidate, requirements: Requirements, lifecycle: LifecycleHooks, trace: bool) -> Plugin:
    """Return the plugin with its registrations, or with the state that says why it cannot be used."""
    plugin = candidate.plugin
    if candidate.entry_point is None:
        return plugin
    unmet = ""
    try:
        if canonical(plugin.distribution) != CORE:
            unmet = requirements.unmet(candidate.distribution)
        module = candidate.entry_point.load()
        owner = lifecycle.owner(module)
        if owner is not None:
            raise RefusalError("shadowed", f"its module {candidate.entry_point.value} is {owner.name}'s")
        for registered in collect(module, f"modrwkv {plugin.name}" if trace else None):
            plugin = replace(plugin, **registered)
    except RefusalError as refusal:
        plugin = replace(plugin, state=refusal.state, error=str(refusal))
    except (Exception, SystemExit) as error:
        plugin = replace(plugin, state="failed", error="".join(traceback.format_exception(error)), cause=error)
    if unmet:
        # What is lacking also explains why a module that is not light failed; its components stay known by name.
        return replace(plugin, state="missing-dependency", error=unmet, cause=None)
    if plugin.state == "ok":
        lifecycle.register(module, plugin)
    return plugin


def _refuse_fatal(plugins: Mapping[str, Plugin], strict: bool) -> None:
    core = [plugin for plugin in plugins.values() if canonical(plugin.distribution) == CORE]
    if not core:
        raise PluginError(
            "modrwkv has no entry points in this environment, so not even its own components can be found",
            hint="install it: `pip install modrwkv`, or `pip install -e .` in a checkout",
        )
    for plugin in plugins.values() if strict else core:
        if plugin.broken:
            raise PluginError(
                f"plugin {plugin.name} is {plugin.state}: {plugin.reason}",
                distribution=plugin.distribution,
                hint=plugin.advice,
            ) from plugin.cause
