"""What a manifest may say about ``conformer`` and ``conformer_features``. Never imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import EncoderConfig

__all__ = ["ConformerBaseConfig", "ConformerConfig", "ConformerFeaturesConfig"]


class ConformerBaseConfig(EncoderConfig, ABC):
    """A Conformer over frames: convolutions over time and frequency, then layers of attention and convolution."""

    init: Literal["scratch"] = "scratch"
    """Where the weights come from."""

    subsampling: Literal[2, 4, 8] = 4
    """Frames that become one feature. Every factor of 2 is one convolution over time and frequency, of kernel 3 and
    stride 2."""

    conv_dim: int = Field(default=64, ge=1)
    """Channels of these convolutions."""

    hidden_size: int = Field(default=144, ge=1)
    """Dimension of the features and of the Conformer."""

    num_layers: int = Field(default=4, ge=0)
    """Conformer layers; 0 leaves the convolutions alone."""

    num_heads: int = Field(default=4, ge=1)
    """Attention heads; they divide the hidden size."""

    intermediate_size: int = Field(default=576, ge=1)
    """Dimension of the hidden layer of each MLP."""

    kernel: int = Field(default=15, ge=1)
    """Features that a layer's convolution sees, an odd number."""

    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout everywhere when the encoder is trained."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide the hidden_size {self.hidden_size}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel}, it must be odd")
        return self

    @property
    @abstractmethod
    def frame_dim(self) -> int:
        """Dims of a frame."""

    @property
    def num_convolutions(self) -> int:
        """Number of convolutions before the layers."""
        return self.subsampling.bit_length() - 1

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features for ``length`` frames: ``length / subsampling``, rounded up."""
        return -(-length // self.subsampling)


class ConformerConfig(ConformerBaseConfig):
    """A Conformer over the log-mel spectrogram of a recording, with one frame for each 10 ms.

    Source: Gulati et al., Conformer, arXiv 2005.08100.
    """

    type: Literal["conformer"] = "conformer"

    rate: int = Field(default=16_000, ge=1000, le=192_000)
    """Samples per second; recordings of another rate are resampled."""

    mel_bins: int = Field(default=80, ge=4, le=256)
    """Frequency bands of the spectrogram, up to half of the rate."""

    @property
    def frame_dim(self) -> int:
        """Dims of a frame."""
        return self.mel_bins

    @property
    def hop(self) -> int:
        """Samples from one frame to the next, 10 ms."""
        return self.rate // 100


class ConformerFeaturesConfig(ConformerBaseConfig):
    """A Conformer over feature frames that another program computed: filterbanks, cepstra.

    Source: Gulati et al., Conformer, arXiv 2005.08100.
    """

    type: Literal["conformer_features"] = "conformer_features"

    in_dim: int = Field(ge=1)
    """Dims of a frame."""

    normalize: bool = True
    """Shift and scale each item to mean 0 and standard deviation 1, each dim by itself, as is usual with cepstra. A
    constant dim becomes zeros."""

    @property
    def frame_dim(self) -> int:
        """Dims of a frame."""
        return self.in_dim
