"""Imports what a ``"module:attribute"`` string names."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from modrwkv_core.errors import PluginError

__all__ = ["resolve"]


def resolve(reference: str, *, component: str, distribution: str) -> Any:
    """Import ``baseline_data``, as in ``"package.module:Class"``.

    Args:
        reference: The string of a plugin's record.
        component: What it belongs to, as ``kind/name``, for errors.
        distribution: Who provides it, for errors.

    Raises:
        PluginError: The module cannot be imported or has no such attribute; chained to the original cause.
    """
    module_name, _, attribute = reference.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:
        own = module_name.partition(".")[0]
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        raise PluginError(
            f"cannot import {module_name}: {type(error).__name__}: {error}",
            component=component,
            distribution=distribution,
            hint=f"the module {missing} is missing; `pip install {distribution}` installs what it requires"
            if missing and missing.partition(".")[0] != own
            else f"`--traceback` shows where; it is {distribution} that must be fixed or reinstalled",
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise PluginError(
            f"the module {module_name} has no {attribute}",
            component=component,
            distribution=distribution,
            hint=f"the registration of {distribution} does not fit its code; reinstall it or tell its authors",
        ) from error
