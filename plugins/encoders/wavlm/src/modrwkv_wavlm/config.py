"""What a manifest may say about ``wavlm``."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from modrwkv_core.interfaces.pretrained_config import from_checkpoint
from modrwkv_core.interfaces.waveform_config import WaveformEncoderConfig
from modrwkv_wavlm.pretrained import CONFIG_FILES, KNOWN_CHECKPOINTS

__all__ = ["WavLMConfig"]


class WavLMConfig(WaveformEncoderConfig):
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

    first_filters: Literal["random", "gabor"] = "random"
    """How the first convolution begins from scratch. ``gabor``: windowed sines and cosines at frequencies equally
    spaced in mel, a spectrogram's filters that training may change; small data sets learn much faster from it."""

    buckets: int = from_checkpoint(ge=4, multiple_of=4)
    """Buckets of the relative positions in attention."""

    max_distance: int = from_checkpoint(gt=0)
    """Distance in features from which on all share a bucket; more than a quarter of the buckets."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.first_filters == "gabor" and self.checkpoint is not None:
            raise ValueError("first_filters: gabor is a way to begin from scratch; a checkpoint has its own filters")
        if self.max_distance <= self.buckets // 4:
            raise ValueError(f"max_distance {self.max_distance} is not more than a quarter of {self.buckets} buckets")
        return self
