"""What is installed, found once for each call of the program."""

from __future__ import annotations

import click

from modrwkv_core.registry import Registry, discover

__all__ = ["discovered"]


def discovered(context: click.Context) -> Registry:
    """Return the registry of a command and of those around it: finding the plugins is most of the time of a short one.

    Raises:
        PluginError: As by :func:`modrwkv_core.registry.discover`.
    """
    root = context.find_root()
    if not isinstance(root.obj, Registry):
        root.obj = discover()
    return root.obj
