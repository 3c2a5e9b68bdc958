"""What a manifest may say about ``conv1d``, and the arithmetic of its widths and lengths."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import CompressorConfig

__all__ = ["Conv1dConfig"]


class Conv1dConfig(CompressorConfig):
    """A convolution with ``kernel`` k, ``stride`` s and ``padding`` p over the sequence.

    L features become ``floor((L + 2p - k) / s) + 1``. The paper's (k, s) are (3, 2), (4, 3) and (5, 4), without
    padding: about a half, a third and a quarter of the tokens.

    Source: ModRWKV, arXiv 2505.14505, section 3 and Table 7.
    """

    type: Literal["conv1d"] = "conv1d"

    kernel: int = Field(default=3, ge=1)
    """Features that one output sees."""

    stride: int = Field(default=2, ge=1)
    """Features between one output and the next."""

    padding: int = Field(default=0, ge=0)
    """Zeros put before and after each item; fewer than ``kernel``, so that every output sees a feature."""

    channels: int | None = Field(default=None, ge=1)
    """Dimension of the outputs; by default that of the inputs."""

    bias: bool = False
    """Add a learned constant to each channel, as the pretrained audio models of WorldRWKV do."""

    @model_validator(mode="after")
    def _padding_is_below_kernel(self) -> Self:
        if self.padding >= self.kernel:
            raise ValueError(f"padding {self.padding} must be smaller than kernel {self.kernel}")
        return self

    def out_dim(self, in_dim: int) -> int:
        """Dimension of the outputs for features of dimension ``in_dim``."""
        return in_dim if self.channels is None else self.channels

    def out_length(self, length: int) -> int:
        """Number of outputs for ``length`` features; 0 if they do not fill one kernel."""
        if length == 0:
            return 0
        return max(0, (length + 2 * self.padding - self.kernel) // self.stride + 1)
