"""What a manifest may say about ``whisper``."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import CheckpointReference, EncoderConfig
from modrwkv_whisper.pretrained import BASE_CHECKPOINT, published_sizes

__all__ = ["HOP", "RATE", "SAMPLES_PER_FEATURE", "WhisperConfig"]

RATE: Final = 16_000
"""Samples per second that every Whisper hears."""

HOP: Final = 160
"""Samples from one frame of the spectrogram to the next, 10 ms."""

SAMPLES_PER_FEATURE: Final = 2 * HOP
"""Samples for one feature: the second convolution takes every other frame."""


def _from_checkpoint(**constraints: Any) -> Any:
    return Field(default=None, **constraints)


class WhisperConfig(EncoderConfig):
    """Features of a recording, one for each 20 ms: the last layer of Whisper's encoder.

    Whisper reads windows of 30 s. A longer recording is cut into several, each of them encoded alone; a shorter one is
    padded with silence, as in Whisper's training, and only the features of what was recorded are kept.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. What is not given of the rest is the checkpoint's,
    or from scratch that of ``openai/whisper-small``; a valid configuration holds it all, so that a run needs the
    checkpoint no more.

    Source: Radford et al., Whisper, arXiv 2212.04356, section 2.2.
    """

    type: Literal["whisper"] = "whisper"

    checkpoint: CheckpointReference | None = None
    """Pretrained weights: a Hugging Face model id, a local folder, or a weight file with ``config.json`` beside it."""

    init: Literal["scratch"] | None = None
    """``scratch`` for fresh weights, trained with the rest."""

    mel_bins: int = _from_checkpoint(gt=0)
    """Frequency bands of the spectrogram."""

    window: int = _from_checkpoint(gt=0)
    """Features of a window, 20 ms each; every recording is padded to whole windows."""

    hidden_size: int = _from_checkpoint(ge=4, multiple_of=2)
    """Width of the features and of the transformer."""

    num_layers: int = _from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = _from_checkpoint(gt=0)
    """Attention heads; they divide the width."""

    intermediate_size: int = _from_checkpoint(gt=0)
    """Width inside a layer's MLP."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout everywhere in the transformer when the encoder is trained."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.checkpoint is None) == (self.init is None):
            raise ValueError("give either a checkpoint or init: scratch")
        missing = {name for name, value in self if value is None} - {"checkpoint", "init"}
        if missing:
            known = published_sizes(self.checkpoint or BASE_CHECKPOINT)
            self.__dict__.update({name: known[name] for name in missing})  # frozen for everybody but this validator
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide the hidden_size {self.hidden_size}")
        return self

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return self.window * SAMPLES_PER_FEATURE

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of a recording of ``length`` samples at 16 kHz: one for each 20 ms that it has begun."""
        return -(-length // SAMPLES_PER_FEATURE)
