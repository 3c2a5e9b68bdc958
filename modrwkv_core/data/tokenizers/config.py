"""Configurations of the tokenizers. Never imports torch."""

from __future__ import annotations

from typing import Literal

from modrwkv_core.interfaces.config import TokenizerConfig

__all__ = ["BytesConfig", "WorldConfig"]


class WorldConfig(TokenizerConfig):
    """The RWKV World vocabulary, which all official RWKV-7 weights use."""

    type: Literal["world"] = "world"

    @property
    def vocab_size(self) -> int:
        """Rows of the official embedding; the vocabulary itself ends at 65529."""
        return 65536


class BytesConfig(TokenizerConfig):
    """One id for each byte of UTF-8, for small models trained from scratch."""

    type: Literal["bytes"] = "bytes"

    @property
    def vocab_size(self) -> int:
        """256 bytes after the reserved 0, and four markers."""
        return 261
