"""What a manifest may say about the augmentations of sound."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import AugmentationConfig

__all__ = ["GainConfig", "NoiseConfig", "SpecAugmentConfig", "SpeedConfig", "TimeShiftConfig"]


class TimeShiftConfig(AugmentationConfig):
    """A recording moved earlier or later; silence fills the gap, and the length stays."""

    type: Literal["time_shift"] = "time_shift"

    max_seconds: float = Field(default=0.1, gt=0.0, le=3600.0)
    """Longest way, in seconds; half of a shorter recording at most. The way is drawn uniformly, in both directions."""


class GainConfig(AugmentationConfig):
    """A recording made louder or quieter. Samples are not clipped.

    Encoders that normalize each recording undo it.
    """

    type: Literal["gain"] = "gain"

    min_db: float = Field(default=-6.0, ge=-100.0, le=100.0)
    """Lowest gain, in decibels; drawn uniformly up to ``max_db``."""

    max_db: float = Field(default=6.0, ge=-100.0, le=100.0)
    """Highest gain, in decibels."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min_db > self.max_db:
            raise ValueError(f"min_db is {self.min_db}, above max_db, which is {self.max_db}")
        return self


class NoiseConfig(AugmentationConfig):
    """White noise below a recording; silence stays silence."""

    type: Literal["noise"] = "noise"

    min_snr: float = Field(default=10.0, ge=-50.0, le=100.0)
    """Lowest ratio of the recording's energy to that of the noise, in decibels; drawn uniformly up to ``max_snr``."""

    max_snr: float = Field(default=40.0, ge=-50.0, le=100.0)
    """Highest ratio, in decibels."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.min_snr > self.max_snr:
            raise ValueError(f"min_snr is {self.min_snr}, above max_snr, which is {self.max_snr}")
        return self


class SpeedConfig(AugmentationConfig):
    """A recording played faster or slower, which changes its length and its pitch.

    Source: Ko et al., Audio Augmentation for Speech Recognition, Interspeech 2015.
    """

    type: Literal["speed"] = "speed"

    factors: tuple[Annotated[float, Field(ge=0.25, le=4.0)], ...] = Field(default=(0.9, 1.0, 1.1), min_length=1)
    """Factors of the speed, one of which is drawn; hundredths are exact."""


class SpecAugmentConfig(AugmentationConfig):
    """Stretches of frames and bands of a log-mel spectrogram replaced by its mean.

    It is for encoders whose processors make a spectrogram ``mel``, such as ``whisper``. For encoders that read
    waveforms, such as ``wavlm``, ``feature_mask`` does the same with their features.

    Source: Park et al., SpecAugment, arXiv 1904.08779, without time warping; the defaults are its policy LD.
    """

    type: Literal["spec_augment"] = "spec_augment"

    time_masks: int = Field(default=2, ge=0, le=100)
    """Stretches of frames."""

    time_width: int = Field(default=100, ge=1)
    """Frames below which a stretch stays, drawn uniformly from 0."""

    max_time_share: float = Field(default=0.2, gt=0.0, le=1.0)
    """Longest stretch, as a share of the recording's frames."""

    frequency_masks: int = Field(default=2, ge=0, le=100)
    """Bands of mel bins."""

    frequency_width: int = Field(default=27, ge=1)
    """Mel bins below which a band stays, drawn uniformly from 0."""
