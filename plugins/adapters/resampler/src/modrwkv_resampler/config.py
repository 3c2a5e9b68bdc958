"""What a manifest may say about ``resampler``, and the arithmetic of its lengths."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import AdapterConfig

__all__ = ["ResamplerConfig"]


class ResamplerConfig(AdapterConfig):
    """A Perceiver resampler: any number of features become ``queries`` tokens.

    Source: Alayrac et al., the Perceiver resampler of Flamingo, arXiv 2204.14198.
    """

    type: Literal["resampler"] = "resampler"

    queries: int = Field(default=64, ge=1)
    """Tokens of every item."""

    num_layers: int = Field(default=2, ge=1)
    """Times that the queries look at the features; Flamingo uses 6."""

    num_heads: int = Field(default=8, ge=1)
    """Attention heads; they divide the hidden size of the backbone."""

    expansion: int = Field(default=4, ge=1)
    """Dimension of the hidden layer after each attention, as a multiple of the hidden size of the backbone."""

    def out_length(self, length: int) -> int:
        """Number of tokens of ``length`` features: always ``queries``, but nothing for nothing."""
        return self.queries if length else 0
