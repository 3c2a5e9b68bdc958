"""What a manifest may say about ``features``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import EncoderConfig

__all__ = ["FeaturesConfig"]


class FeaturesConfig(EncoderConfig):
    """Feature frames that another program computed: cepstra, filterbanks, embeddings."""

    type: Literal["features"] = "features"

    init: Literal["scratch"] = "scratch"
    """Where the weights come from."""

    in_dim: int = Field(ge=1)
    """Dims of a frame."""

    hidden_size: int = Field(default=256, ge=1)
    """Dimension of the features."""

    subsampling: Literal[1, 2, 4, 8] = 1
    """Frames that become one feature: with 1 each frame is mapped linearly, and every factor of 2 is one convolution
    of kernel 3 and stride 2."""

    normalize: bool = False
    """Shift and scale each item to mean 0 and standard deviation 1, each dim by itself, as is usual with cepstra. A
    constant dim becomes zeros."""

    @property
    def num_layers(self) -> int:
        """Number of convolutions."""
        return self.subsampling.bit_length() - 1

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features for ``length`` frames: ``length / subsampling``, rounded up."""
        return -(-length // self.subsampling)
