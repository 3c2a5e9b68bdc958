"""What importing a module loads, looked at in a fresh process. Only ``modrwkv plugins check`` measures times."""

from __future__ import annotations

from modrwkv_core.registry.probe import HEAVY, Imported, foreign_modules
from modrwkv_core.registry.probe import import_in_subprocess as probe

__all__ = ["HEAVY", "Imported", "foreign_modules", "import_in_subprocess"]


def import_in_subprocess(module: str) -> Imported:
    """Import ``module`` in a fresh interpreter.

    Raises:
        AssertionError: It cannot be imported, or it ends the process.
    """
    imported = probe(module)
    failure = imported.end or imported.error
    assert not failure, f"{module} cannot be imported in a fresh interpreter:\n{failure}"
    return imported
