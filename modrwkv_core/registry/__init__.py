"""Finds the installed plugins and what they provide, without importing anything heavy."""

from modrwkv_core.registry.catalog import Registry
from modrwkv_core.registry.discovery import discover
from modrwkv_core.registry.records import Entry, Plugin, PluginState

__all__ = ["Entry", "Plugin", "PluginState", "Registry", "discover"]
