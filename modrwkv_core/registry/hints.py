"""Errors about names that cannot be used: who claims them, who is broken, what to install, what was meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from modrwkv_core.errors import PluginError
from modrwkv_core.registry.installed import canonical
from modrwkv_core.registry.records import Plugin

__all__ = ["broken_error", "conflict", "known", "not_found", "opaque_plugins", "reserved", "suspect"]


def conflict(kind: str, name: str, claimants: Sequence[Plugin]) -> PluginError:
    """Return the error for a name that several usable plugins claim."""
    distributions = sorted({plugin.distribution for plugin in claimants})
    if len(distributions) == 1:
        hint = "disable one of them in MODRWKV_DISABLE_PLUGINS, and tell the distribution's authors"
    else:
        choice = distributions[0]
        hint = f"settle it with `plugins.prefer: {{{kind}/{name}: {choice}}}`, or write `{choice}/{name}` for `{name}`"
    return PluginError(
        f"{kind} {name!r} is claimed by {' and '.join(sorted(plugin.name for plugin in claimants))}",
        component=f"{kind}/{name}",
        hint=hint,
    )


def reserved(kind: str, name: str, claimant: Plugin) -> PluginError:
    """Return the error for a name of the core's own that another plugin claims."""
    return PluginError(
        f"{kind} {name!r} of {claimant.name} is not used: the name is reserved, modrwkv provides it itself",
        component=f"{kind}/{name}",
        distribution=claimant.distribution,
        hint=f"{claimant.distribution} must register it under another name",
    )


def broken_error(kind: str, name: str, plugin: Plugin) -> PluginError:
    """Return the error for a name whose plugin cannot be used; raise it from the plugin's cause."""
    return PluginError(
        f"{kind} {name!r} cannot be used: plugin {plugin.name} is {plugin.state}: {plugin.reason}",
        component=f"{kind}/{name}",
        distribution=plugin.distribution,
        hint=plugin.advice,
    )


def opaque_plugins(plugins: Sequence[Plugin]) -> list[Plugin]:
    """Return the unusable plugins of which nobody knows what they would have registered."""
    return [
        plugin
        for plugin in plugins
        if plugin.state not in ("ok", "shadowed")
        and not (plugin.components or plugin.modalities or plugin.presets or plugin.commands)
    ]


def suspect(kind: str, name: str, distribution: str, opaque: Sequence[Plugin]) -> Plugin | None:
    """Return the opaque plugin that would provide the name: by the known table, else because it is called like it."""
    provider = canonical(distribution or known(kind).get(name, ""))
    wanted = canonical(name)
    for plugin in opaque:
        installed = canonical(plugin.distribution)
        called_alike = plugin.name.endswith(f":{name}") or installed == wanted or installed.endswith(f"-{wanted}")
        if installed == provider or (not provider and called_alike):
            return plugin
    return None


def not_found(
    kind: str,
    name: str,
    distribution: str,
    version: str,
    installed: Mapping[str, Sequence[str]],
    plugins: Sequence[Plugin],
) -> PluginError:
    """Return the error for a name that no plugin claims.

    Args:
        kind: What was asked for.
        name: Its name, without a distribution.
        distribution: The distribution asked for; empty if any would do.
        version: Its version in a run's lock; empty if no run asks for it.
        installed: The usable names by kind.
        plugins: All plugins.
    """
    import difflib

    elsewhere = known(kind)
    provider = distribution or elsewhere.get(name)
    present = [plugin for plugin in plugins if provider and canonical(plugin.distribution) == canonical(provider)]
    hints: list[str] = []
    if present:
        message = f"{kind} {name!r} is not in {provider} {present[0].version}, which is installed"
        hints.append(
            f"`pip install {provider}=={version}`, which the run was made with"
            if version
            else f"`pip install --upgrade {provider}`, if a newer one has it"
        )
    elif provider:
        verb = "wanted from" if distribution else "provided by"
        message = f"{kind} {name!r} is {verb} {provider}, which is not installed"
        if version:
            message = f"this run needs {provider} {version} for {kind} {name!r}; it is not installed"
        hints.append(f"pip install {provider}{f'=={version}' if version else ''}")
    else:
        message = f"unknown {kind} {name!r}"
        close = difflib.get_close_matches(name, {*installed.get(kind, ()), *elsewhere}, n=3)
        others = [other for other, names in sorted(installed.items()) if name in names]
        if close:
            meant = [
                other if other in installed.get(kind, ()) else f"{other} (pip install {elsewhere[other]})"
                for other in close
            ]
            hints.append(f"did you mean {' or '.join(meant)}?")
        elif others:
            hints.append(f"another kind has that name: {', '.join(others)}")
        else:
            hints.append(f"installed: {', '.join(installed.get(kind, ())) or 'none'}")
    opaque = [plugin.name for plugin in opaque_plugins(plugins)]
    if opaque and not present:
        hints.append(f"it may be in what cannot be used: {', '.join(opaque)} (see `modrwkv plugins doctor`)")
    return PluginError(message, component=f"{kind}/{name}", hint="; ".join(hints))


@cache
def known(kind: str) -> dict[str, str]:
    """Return the first-party names of ``kind`` with their distributions, installed or not."""
    import tomllib

    table = tomllib.loads(Path(__file__).with_name("known_plugins.toml").read_text(encoding="utf-8"))
    names: dict[str, str] = table.get(kind, {})
    return names
