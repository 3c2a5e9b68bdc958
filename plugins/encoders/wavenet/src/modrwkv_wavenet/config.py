"""What a manifest may say about ``wavenet``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import EncoderConfig

__all__ = ["WaveNetConfig"]


class WaveNetConfig(EncoderConfig):
    """One feature for each point of a series, from the points up to it.

    A feature sees the last :attr:`receptive_field` points. There are no pretrained weights: the encoder is trained with
    the rest. Neither the ModRWKV paper nor its code gives sizes; the defaults are ours, small enough for a CPU.

    Source: van den Oord et al., WaveNet, arXiv 1609.03499, section 2.
    """

    type: Literal["wavenet"] = "wavenet"

    init: Literal["scratch"] = "scratch"
    """Where the weights come from."""

    channels: int = Field(default=1, ge=1)
    """Measurements at each point of the series."""

    hidden_size: int = Field(default=32, ge=1)
    """Dimension of the features and of all layers."""

    num_layers: int = Field(default=8, ge=1, le=32)
    """Layers in a block; their dilations are 1, 2, 4, ..., 2 ** (layers - 1)."""

    blocks: int = Field(default=1, ge=1)
    """Repetitions of the block."""

    kernel: int = Field(default=2, ge=2)
    """Points that a layer's convolution sees, ``dilation`` apart."""

    normalize: bool = True
    """Shift and scale each window to mean 0 and standard deviation 1, each channel by itself. A constant channel
    becomes zeros. The forecast head restores the units of the input by the same statistics."""

    min_length: int = Field(default=2, ge=1)
    """Points below which a series is refused; a compressor after the encoder may need more."""

    @property
    def receptive_field(self) -> int:
        """Number of points, up to and including its own, that a feature sees."""
        return 1 + self.blocks * (self.kernel - 1) * ((1 << self.num_layers) - 1)

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of a series of ``length`` points: one for each."""
        return length
