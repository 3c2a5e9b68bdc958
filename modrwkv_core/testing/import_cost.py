"""What importing a module loads, looked at in a fresh process. Only ``modrwkv plugins check`` measures times."""

from __future__ import annotations

import sys
from functools import cache

from modrwkv_core.registry.probe import HEAVY, Imported, foreign_modules
from modrwkv_core.registry.probe import import_in_subprocess as probe

__all__ = ["HEAVY", "Imported", "foreign_modules", "import_in_subprocess"]


def import_in_subprocess(module: str) -> Imported:
    """Import ``module`` in a fresh interpreter, once for all components that share it.

    Raises:
        AssertionError: It cannot be imported, or it ends the process.
    """
    imported = _imported(module, tuple(sys.path))
    failure = imported.end or imported.error
    assert not failure, f"{module} cannot be imported in a fresh interpreter:\n{failure}"
    return imported


@cache
def _imported(module: str, _search_path: tuple[str, ...]) -> Imported:
    return probe(module)
