"""What a manifest may say about the augmentations of the core."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import AugmentationConfig

__all__ = [
    "FeatureDropoutConfig",
    "FeatureMaskConfig",
    "FlipConfig",
    "JitterConfig",
    "ScalingConfig",
    "TSMixConfig",
    "WindowMaskConfig",
]


class JitterConfig(AugmentationConfig):
    """Normal noise on each point of a series; targets stay.

    Source: Um et al., ICMI 2017, arXiv 1706.00527.
    """

    type: Literal["jitter"] = "jitter"

    sigma: float = Field(default=0.03, gt=0.0, le=10.0)
    """Standard deviation of the noise, in standard deviations of the series, each channel by itself."""


class ScalingConfig(AugmentationConfig):
    """A series and its targets times the same random factor, one for each channel.

    Encoders and heads that normalize each window undo it; it is for those that read units.

    Source: Um et al., ICMI 2017, arXiv 1706.00527; the factor is log-normal here, so that signs never flip.
    """

    type: Literal["scaling"] = "scaling"

    sigma: float = Field(default=0.1, gt=0.0, le=3.0)
    """Standard deviation of the factor's natural logarithm, whose mean is 0."""


class FlipConfig(AugmentationConfig):
    """A series and its targets times -1.

    Training series drift one way or the other, and the model learns it; what is true of series turned upside down, too,
    is more likely to last. Give `probability: 0.5`.

    Source: flipping in Iwana and Uchida, PLOS ONE 16(7), 2021.
    """

    type: Literal["flip"] = "flip"


class TSMixConfig(AugmentationConfig):
    """A weighted mean of a series and others of the same source, and of their targets.

    Each series is divided by its mean absolute value before, and the mean is multiplied by that of the first after, so
    that units and spread of the first stay. Weights are drawn from a symmetric Dirichlet distribution. A record whose
    series has another shape, or whose targets have others, is not mixed in.

    Source: TSMixup of Chronos, Ansari et al., arXiv 2403.07815, algorithm 1.
    """

    type: Literal["tsmix"] = "tsmix"

    series: int = Field(default=3, ge=2, le=16)
    """Most series that are mixed; how many is drawn, uniformly from 2."""

    alpha: float = Field(default=1.5, gt=0.0, le=1000.0)
    """Concentration of the Dirichlet distribution: the larger, the more equal the weights."""


class WindowMaskConfig(AugmentationConfig):
    """Windows of a series replaced by the mean of each channel; targets stay."""

    type: Literal["window_mask"] = "window_mask"

    windows: int = Field(default=1, ge=1, le=1000)
    """Number of windows; they may overlap."""

    max_share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Longest window, as a share of the series' points; its length is drawn, uniformly from 1 point."""


class FeatureMaskConfig(AugmentationConfig):
    """Stretches of an encoder's features set to zero, in time and in channels.

    This is SpecAugment for encoders that read waveforms, and serves features of any modality. Lengths stay, so the
    model gets as many tokens as without it.

    Source: Baevski et al., wav2vec 2.0, arXiv 2006.11477, section 4.2, after SpecAugment, arXiv 1904.08779.
    """

    type: Literal["feature_mask"] = "feature_mask"

    time_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of the vectors that is masked if stretches do not overlap."""

    time_length: int = Field(default=10, ge=1)
    """Vectors of a stretch; an item that is shorter is masked in halves of its length at most."""

    channel_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the channels that is masked if stretches do not overlap."""

    channel_length: int = Field(default=64, ge=1)
    """Channels of a stretch; features that have fewer are masked in halves at most."""


class FeatureDropoutConfig(AugmentationConfig):
    """Single values of an encoder's features set to zero, the others scaled up so that the mean stays.

    Source: Srivastava et al., Dropout, JMLR 2014.
    """

    type: Literal["feature_dropout"] = "feature_dropout"

    rate: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the values that is set to zero."""
