"""What a manifest may say about ``features`` and the augmentations of feature frames."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import AugmentationConfig, EncoderConfig

__all__ = ["FeaturesConfig", "TimeMaskConfig", "TimeStretchConfig"]


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


class TimeStretchConfig(AugmentationConfig):
    """Feature frames in a faster or slower time, by linear interpolation between frames."""

    type: Literal["time_stretch"] = "time_stretch"

    min_rate: float = Field(default=0.9, ge=0.25, le=4.0)
    """Lowest rate, drawn uniformly up to ``max_rate``; below 1 there are more frames."""

    max_rate: float = Field(default=1.1, ge=0.25, le=4.0)
    """Highest rate; above 1 there are fewer frames."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min_rate > self.max_rate:
            raise ValueError(f"min_rate is {self.min_rate}, above max_rate, which is {self.max_rate}")
        return self


class TimeMaskConfig(AugmentationConfig):
    """Stretches of feature frames replaced by the mean frame.

    Source: Park et al., SpecAugment, arXiv 1904.08779.
    """

    type: Literal["time_mask"] = "time_mask"

    masks: int = Field(default=2, ge=1, le=100)
    """Number of stretches."""

    width: int = Field(default=40, ge=1)
    """Frames of the longest stretch, drawn uniformly from 0."""

    max_share: float = Field(default=0.2, gt=0.0, le=1.0)
    """Longest stretch, as a share of the frames."""
