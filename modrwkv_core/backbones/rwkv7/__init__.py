"""RWKV-7 "Goose" (arXiv 2503.14456): the recurrent backbone with constant-size state.

The names below load torch when they are first asked for, so that a manifest can be checked without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.config import RWKV7Config
    from modrwkv_core.backbones.rwkv7.model import RWKV7
    from modrwkv_core.backbones.rwkv7.state import RWKV7State

__all__ = ["RWKV7", "RWKV7Config", "RWKV7State"]

_HOMES = {"RWKV7": "model", "RWKV7Config": "config", "RWKV7State": "state"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
