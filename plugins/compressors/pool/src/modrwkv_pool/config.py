"""What a manifest may say about ``pool``, and the arithmetic of its lengths."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import CompressorConfig

__all__ = ["PoolConfig"]


class PoolConfig(CompressorConfig):
    """The mean over windows of ``kernel`` features, one window every ``stride`` features.

    A partial window at the end of an item is the mean of the features that it has, so that nothing is lost and an item
    shorter than ``kernel`` gives one feature.

    Source: average pooling as in Yao et al., DeCo, arXiv 2405.20985, here along the sequence.
    """

    type: Literal["pool"] = "pool"

    kernel: int = Field(default=2, ge=1)
    """Features of a window."""

    stride: int | None = Field(default=None, ge=1)
    """Features between the beginning of one window and the next; by default ``kernel``."""

    @property
    def step(self) -> int:
        """The stride in effect."""
        return self.kernel if self.stride is None else self.stride

    def out_length(self, length: int) -> int:
        """Number of windows of ``length`` features."""
        if length == 0:
            return 0
        covering = 1 + -(-max(0, length - self.kernel) // self.step)
        beginning = -(-length // self.step)
        return min(covering, beginning)
