"""The base of configurations of encoders with the architecture of wav2vec 2.0. Never imports torch.

WavLM, HuBERT, data2vec and MMS share it: convolutions read the samples of a recording, one more convolution tells
positions, and a transformer follows. The tables below say where checkpoints of ``transformers`` state the sizes.
"""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from modrwkv_core.interfaces.pretrained_config import ConfigFile, PretrainedEncoderConfig, from_checkpoint

__all__ = ["BASE_SIZES", "LARGE_SIZES", "MODEL_CONSTANTS", "MODEL_KEYS", "PREPROCESSOR_FILE", "WaveformEncoderConfig"]

Layers = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

MODEL_KEYS: Final = {
    "conv_dim": "conv_dim",
    "conv_kernel": "conv_kernel",
    "conv_stride": "conv_stride",
    "conv_bias": "conv_bias",
    "conv_norm": "feat_extract_norm",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "norm_first": "do_stable_layer_norm",
    "position_kernel": "num_conv_pos_embeddings",
    "position_groups": "num_conv_pos_embedding_groups",
}
"""The key in ``config.json``, by the name of the field."""

MODEL_CONSTANTS: Final = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}
"""Keys of ``config.json`` that must have this value or be absent."""

BASE_SIZES: Final[dict[str, Any]] = {
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_bias": False,
    "conv_norm": "group",
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "intermediate_size": 3072,
    "norm_first": False,
    "position_kernel": 128,
    "position_groups": 16,
}
"""The base model (wav2vec 2.0, arXiv 2006.11477, section 4.2), and what ``config.json`` may omit."""

LARGE_SIZES: Final[dict[str, Any]] = {
    **BASE_SIZES,
    "conv_norm": "layer",
    "hidden_size": 1024,
    "num_layers": 24,
    "num_heads": 16,
    "intermediate_size": 4096,
    "norm_first": True,
}
"""The large model as of LV-60k and HuBERT."""

PREPROCESSOR_FILE: Final = ConfigFile(
    names=("preprocessor_config.json", "processor_config.json"),
    keys={"rate": "sampling_rate", "normalize": "do_normalize"},
    defaults={"rate": 16_000, "normalize": True},
    sections=("feature_extractor",),
)
"""Where checkpoints say what :class:`~modrwkv_core.interfaces.waveform_processor.WaveformProcessor` needs."""


class WaveformEncoderConfig(PretrainedEncoderConfig, ABC):
    """Features of a recording, one for each stride of the convolutions: the transformer's last layer."""

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

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout everywhere in the transformer when the encoder is trained."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError("conv_dim, conv_kernel and conv_stride must be of the same length: one number a layer")
        if self.conv_norm == "group" and all(kernel == 1 for kernel in self.conv_kernel[1:]):
            raise ValueError(
                "conv_norm group normalizes over time and needs a second convolution wider than 1; use layer"
            )
        for name in ("num_heads", "position_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(f"{name} {getattr(self, name)} does not divide the hidden_size {self.hidden_size}")
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
