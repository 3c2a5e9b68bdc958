"""What a manifest may say about ``whisper``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig, from_checkpoint
from modrwkv_whisper.ctranslate2_layout import find_ctranslate2, read_sizes
from modrwkv_whisper.pretrained import KNOWN_CHECKPOINTS, MODEL_FILE

__all__ = ["HOP", "RATE", "SAMPLES_PER_FEATURE", "WhisperConfig"]

RATE: Final = 16_000
"""Samples per second that every Whisper hears."""

HOP: Final = 160
"""Samples from one frame of the spectrogram to the next, 10 ms."""

SAMPLES_PER_FEATURE: Final = 2 * HOP
"""Samples for one feature: the second convolution takes every other frame."""


class WhisperConfig(PretrainedEncoderConfig):
    """Features of a recording, one for each 20 ms: the last layer of Whisper's encoder.

    Whisper reads windows of 30 s. A longer recording is cut into several, each of them encoded alone; a shorter one is
    padded with silence, as in Whisper's training, and only the features of what was recorded are kept.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``openai/whisper-small``. A valid configuration holds all of them, so a run
    no longer needs the checkpoint. Checkpoints may have the layout of transformers or of CTranslate2 (faster-whisper).

    Source: Radford et al., Whisper, arXiv 2212.04356, section 2.2.
    """

    type: Literal["whisper"] = "whisper"

    default_checkpoint: ClassVar = "openai/whisper-small"
    known_checkpoints: ClassVar = KNOWN_CHECKPOINTS
    config_files: ClassVar = (MODEL_FILE,)

    mel_bins: int = from_checkpoint(gt=0)
    """Frequency bands of the spectrogram."""

    window: int = from_checkpoint(gt=0)
    """Features of a window, 20 ms each; every recording is padded to whole windows. A window shorter than the
    checkpoint's begins with the same positions: short recordings then cost less, but are not what it was trained on."""

    hidden_size: int = from_checkpoint(ge=4, multiple_of=2)
    """Dimension of the features and of the transformer."""

    num_layers: int = from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = from_checkpoint(gt=0)
    """Attention heads; they divide the hidden size."""

    intermediate_size: int = from_checkpoint(gt=0)
    """Dimension of the hidden layer of each MLP."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout everywhere in the transformer when the encoder is trained."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide the hidden_size {self.hidden_size}")
        return self

    @classmethod
    def read_checkpoint(cls, reference: str, names: Collection[str]) -> Mapping[str, Any]:
        """Return what a checkpoint states of the fields ``names``, whatever its layout.

        Raises:
            CheckpointError: A file is missing or damaged, or a value is not valid.
        """
        file = find_ctranslate2(reference)
        if file is None:
            return super().read_checkpoint(reference, names)
        sizes = read_sizes(file)
        try:
            cls(init="scratch", **sizes)
        except ValidationError as error:
            raise CheckpointError(f"{file} has sizes {sizes}, which cannot be: {error.errors()[0]['msg']}") from error
        return sizes

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return self.window * SAMPLES_PER_FEATURE

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of a recording of ``length`` samples at 16 kHz: one for each 20 ms that it has begun."""
        return -(-length // SAMPLES_PER_FEATURE)
