"""ModRWKV: any signal becomes tokens of one linear-time language model.

From Python, ``modrwkv_core.load(RUN)`` gives a :class:`~modrwkv_core.inference.session.Session`. Importing this package
stays light; torch is imported by the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modrwkv_core.inference.loading import load
    from modrwkv_core.inference.sampling import Sampling
    from modrwkv_core.inference.session import Session
    from modrwkv_core.interfaces.record import Media, Text

__all__ = ["Media", "Sampling", "Session", "Text", "load"]

_HOMES = {
    "Media": "modrwkv_core.interfaces.record",
    "Sampling": "modrwkv_core.inference.sampling",
    "Session": "modrwkv_core.inference.session",
    "Text": "modrwkv_core.interfaces.record",
    "load": "modrwkv_core.inference.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
