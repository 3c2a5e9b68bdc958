"""What a manifest may say about ``none``."""

from __future__ import annotations

from typing import Literal

from modrwkv_core.interfaces.config import CompressorConfig

__all__ = ["NoneConfig"]


class NoneConfig(CompressorConfig):
    """No compression: the same as a manifest without ``compressor:``, under a name that comparisons can give."""

    type: Literal["none"] = "none"

    def out_length(self, length: int) -> int:
        """Number of features: ``length``."""
        return length
