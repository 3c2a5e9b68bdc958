"""Which plugins the user wants: the environment's and the manifest's lists."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable

from modrwkv_core.registry.records import Plugin
from modrwkv_core.registry.scan import canonical

__all__ = ["CORE", "Settings"]

CORE = "modrwkv"
"""The distribution of the core itself; its plugin is always loaded."""


class Settings:
    """Allow-lists, deny-lists and switches; plugins are named by distribution or as ``distribution:entry-point``.

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
