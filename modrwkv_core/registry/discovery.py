"""Finds the installed plugins and loads each one in isolation.

The loop is our own because pluggy's loader stops at the first broken plugin and drops the rest. Here every entry point
ends in a state of its own. A process loads an entry point and calls its registration hooks once.
"""

from __future__ import annotations

import importlib.metadata
import os
import traceback
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from modrwkv_core.errors import PluginError
from modrwkv_core.interfaces.guard import CORE, contained, guard, is_users_interrupt
from modrwkv_core.registry.catalog import Registry
from modrwkv_core.registry.collect import RefusalError, collect
from modrwkv_core.registry.installed import Candidate, Requirements, canonical, scan
from modrwkv_core.registry.lifecycle import LifecycleHooks
from modrwkv_core.registry.records import Plugin

__all__ = ["Settings", "discover"]

_HERE: Final = str(Path(__file__).parent)
_MACHINERY: Final = (importlib.__file__, importlib.metadata.__file__)


def discover(
    *,
    allow: Collection[str] | None = None,
    disable: Collection[str] = (),
    prefer: Mapping[str, str] | None = None,
    locked: Mapping[str, tuple[str, str]] | None = None,
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
        locked: Distribution and version that a run's lock records for each name; a preference wins over it.

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
    return Registry((*plugins.values(), *shadowed), lifecycle, prefer or {}, locked)


@dataclass(frozen=True, slots=True)
class _Registered:
    """What became of loading an entry point.

    Attributes:
        module: What it names; None if it cannot be loaded.
        outcome: Fields of the plugin's record: state, error and cause, or what it registered.
    """

    module: Any
    outcome: dict[str, Any]


_registered: Final[dict[tuple[str, str, str], _Registered]] = {}
"""By plugin, location and entry point: all that this process has loaded."""


def _load(candidate: Candidate, requirements: Requirements, lifecycle: LifecycleHooks, trace: bool) -> Plugin:
    """Return the plugin with its registrations, or with the state that says why it cannot be used."""
    plugin = candidate.plugin
    if candidate.entry_point is None:
        return plugin
    try:
        unmet = requirements.unmet(candidate.distribution) if canonical(plugin.distribution) != CORE else ""
    except Exception as error:  # a requirement that cannot be read
        return replace(plugin, state="failed", error=_authors_traceback(error), cause=error)
    key = (plugin.name, plugin.location, candidate.entry_point.value)
    if key not in _registered:
        _registered[key] = _register(candidate, trace)
    registered = _registered[key]
    plugin = replace(plugin, **registered.outcome)
    owner = lifecycle.owner(registered.module)
    if owner is not None:
        plugin = replace(
            candidate.plugin, state="shadowed", error=f"its module {candidate.entry_point.value} is {owner.name}'s"
        )
    if unmet:
        # What is lacking also explains why a module that is not light failed; its components stay known by name.
        return replace(plugin, state="missing-dependency", error=unmet, cause=None)
    if plugin.state == "ok":
        lifecycle.register(registered.module, plugin)
    return plugin


def _register(candidate: Candidate, trace: bool) -> _Registered:
    """Load an entry point and call its registration hooks."""
    plugin, module = candidate.plugin, None
    outcome: dict[str, Any] = {}
    assert candidate.entry_point is not None, "damaged metadata are not loaded"
    try:
        with guard(None, "import"), contained():
            module = candidate.entry_point.load()
            same = next((registered for registered in _registered.values() if registered.module is module), None)
            if same is not None:
                return same  # another entry point names it, too
            for fields in collect(module, f"modrwkv {plugin.name}" if trace else None):
                outcome |= fields
    except RefusalError as refusal:
        outcome |= {"state": refusal.state, "error": str(refusal)}
    except BaseException as error:
        if is_users_interrupt(error):
            raise
        outcome |= {"state": "failed", "error": _authors_traceback(error), "cause": error}
    return _Registered(module, outcome)


def _authors_traceback(error: BaseException) -> str:
    """Format where the plugin's own code failed: without the frames of the core and of Python's import system."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<frozen", _HERE)) and frame.filename not in _MACHINERY
    ]
    return "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)])


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


class Settings:
    """Which plugins the user wants: the environment's and the caller's lists.

    Plugins are named by distribution or as ``distribution:entry-point``.

    Args:
        allow: The caller's allow-list; None allows all.
        disable: The caller's deny-list.

    Attributes:
        strict: Whether a broken plugin is fatal.
        trace: Whether hook calls are written to stderr.
    """

    def __init__(self, allow: Collection[str] | None, disable: Collection[str]) -> None:
        self._allow = {"MODRWKV_PLUGINS": _listed("MODRWKV_PLUGINS"), "plugins.allow": allow}
        self._disable = {"MODRWKV_DISABLE_PLUGINS": _listed("MODRWKV_DISABLE_PLUGINS"), "plugins.disable": disable}
        self.strict = _is_set("MODRWKV_STRICT_PLUGINS")
        self.trace = _is_set("MODRWKV_TRACE_PLUGINS")

    def refusal(self, plugin: Plugin) -> str | None:
        """Say which setting keeps ``plugin`` from being loaded, if any does."""
        if canonical(plugin.distribution) == CORE:
            return None
        for setting, names in self._allow.items():
            if names is not None and not _names(plugin) & {canonical(name) for name in names}:
                return f"not listed in {setting}"
        for setting, names in self._disable.items():
            if names is not None and _names(plugin) & {canonical(name) for name in names}:
                return f"disabled by {setting}"
        return None

    def warn_of_unknown(self, plugins: Iterable[Plugin]) -> None:
        """Warn of listed names that fit no plugin: a misspelt deny-list would disable nothing."""
        known = {name for plugin in plugins for name in _names(plugin)}
        for setting, names in (*self._allow.items(), *self._disable.items()):
            for name in names or ():
                if canonical(name) not in known:
                    warnings.warn(f"{setting} names {name!r}, which is not an installed plugin", stacklevel=3)


def _names(plugin: Plugin) -> set[str]:
    return {canonical(plugin.distribution), canonical(plugin.name)}


def _listed(variable: str) -> list[str] | None:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()] or None


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")
