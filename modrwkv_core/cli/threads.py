"""How long the threads of a computation wait awake for each other."""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["SPIN_COUNT", "limit_spinning"]

SPIN_COUNT = 1000


def limit_spinning(environment: MutableMapping[str, str]) -> None:
    """Set libgomp's wait policy, unless the user has set one. libgomp reads it once, when torch is imported.

    By default libgomp's threads spin for about 300,000 turns while they wait for each other. When another program takes
    one of their cores, they spin on the cores that have work to do. ``modrwkv bench busy`` measures the effect.
    """
    if not environment.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        environment["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
