"""The compressor that does nothing."""

from __future__ import annotations

from modrwkv_core.interfaces.component import Compressor
from modrwkv_core.interfaces.values import Features
from modrwkv_none.config import NoneConfig

__all__ = ["NoneCompressor"]


class NoneCompressor(Compressor[NoneConfig]):
    """Lets features pass; has no weights."""

    def forward(self, features: Features) -> Features:
        """Return ``features``, ``[N, L, in_dim]``, as they are."""
        return features
