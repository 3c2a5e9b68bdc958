"""What a manifest may say about ``wavlm``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig, from_checkpoint
from modrwkv_wavlm.pretrained import CONFIG_FILES, KNOWN_CHECKPOINTS

__all__ = ["WavLMConfig"]

Layers = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class WavLMConfig(PretrainedEncoderConfig):
    """Features of a recording, one for each stride of the convolutions (20 ms): WavLM's last layer.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``microsoft/wavlm-base-plus``. A valid configuration holds all of them, so
    a run no longer needs the checkpoint.

    Source: Chen et al., WavLM, arXiv 2110.13900.
    """

    type: Literal["wavlm"] = "wavlm"

    default_checkpoint: ClassVar = "microsoft/wavlm-base-plus"
    known_checkpoints: ClassVar = KNOWN_CHECKPOINTS
    config_files: ClassVar = CONFIG_FILES

    rate: int = from_checkpoint(gt=0)
    """Samples per second; recordings of another rate are resampled."""

    normalize: bool = from_checkpoint()
    """Shift and scale each recording to mean 0 and variance 1."""

    conv_dim: Layers = from_checkpoint()
    """Channels of each convolution of the front end."""

    conv_kernel: Layers = from_checkpoint()
    """Kernel size of each convolution."""

    conv_stride: Layers = from_checkpoint()
    """Stride of each convolution; their product is the number of samples for one feature."""

    conv_bias: bool = from_checkpoint()
    """Whether the convolutions have biases."""

    conv_norm: Literal["group", "layer"] = from_checkpoint()
    """``group``: the first convolution's channels are normalized over time; ``layer``: every convolution's vectors."""

    first_filters: Literal["random", "gabor"] = "random"
    """How the first convolution begins from scratch. ``gabor``: windowed sines and cosines at frequencies equally
    spaced in mel, a spectrogram's filters that training may change; small data sets learn much faster from it."""

    hidden_size: int = from_checkpoint(gt=0)
    """Dimension of the features and of the transformer."""

    num_layers: int = from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = from_checkpoint(gt=0)
    """Attention heads; they divide the hidden size."""

    intermediate_size: int = from_checkpoint(gt=0)
    """Dimension of the hidden layer of each MLP."""

    norm_first: bool = from_checkpoint()
    """Normalize before attention and MLP (large) instead of after them (base)."""

    position_kernel: int = from_checkpoint(gt=0)
    """Kernel size of the convolution that encodes positions."""

    position_groups: int = from_checkpoint(gt=0)
    """Groups of that convolution; they divide the hidden size."""

    buckets: int = from_checkpoint(ge=4, multiple_of=4)
    """Buckets of the relative positions in attention."""

    max_distance: int = from_checkpoint(gt=0)
    """Distance in features from which on all share a bucket; more than a quarter of the buckets."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout everywhere in the transformer when the encoder is trained."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError("conv_dim, conv_kernel and conv_stride must be of the same length: one number a layer")
        if self.conv_norm == "group" and all(kernel == 1 for kernel in self.conv_kernel[1:]):
            raise ValueError(
                "conv_norm group normalizes over time and needs a second convolution wider than 1; use layer"
            )
        for name in ("num_heads", "position_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(f"{name} {getattr(self, name)} does not divide the hidden_size {self.hidden_size}")
        if self.first_filters == "gabor" and self.checkpoint is not None:
            raise ValueError("first_filters: gabor is a way to begin from scratch; a checkpoint has its own filters")
        if self.max_distance <= self.buckets // 4:
            raise ValueError(f"max_distance {self.max_distance} is not more than a quarter of {self.buckets} buckets")
        return self

    @property
    def min_length(self) -> int:
        """Samples of the shortest recording that gives a feature."""
        length = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            length = (length - 1) * stride + kernel
        return length

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of a recording of ``length`` samples at :attr:`rate`; 0 if it is too short."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            if length < kernel:
                return 0
            length = (length - kernel) // stride + 1
        return length
