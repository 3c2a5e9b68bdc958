"""What a manifest may say about ``timer``."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig, from_checkpoint
from modrwkv_timer.pretrained import KNOWN_CHECKPOINTS, MODEL_FILE

__all__ = ["TimerConfig"]


class TimerConfig(PretrainedEncoderConfig):
    """One feature for each patch of a series, from the patches up to it: the last layer of Timer.

    Patches are counted from the newest point back, so that the last one ends there; the oldest points, too few for a
    patch, are left out. Timer reads one channel: several are read one by one, and their features follow one another,
    all of the first channel, then all of the second.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``thuml/timer-base-84m``. A valid configuration holds all of them, so a run
    no longer needs the checkpoint.

    Source: Liu et al., Timer, arXiv 2402.02368, section 3.2; sizes and layout of the pretrained model.
    """

    type: Literal["timer"] = "timer"

    default_checkpoint: ClassVar = "thuml/timer-base-84m"
    known_checkpoints: ClassVar = KNOWN_CHECKPOINTS
    config_files: ClassVar = (MODEL_FILE,)

    channels: int = Field(default=1, ge=1)
    """Measurements at each point of the series."""

    normalize: bool = True
    """Shift and scale each window to mean 0 and standard deviation 1, each channel by itself. A constant channel
    becomes zeros."""

    patch: int = from_checkpoint(gt=0)
    """Points that make one feature; a series with fewer is refused."""

    hidden_size: int = from_checkpoint(gt=0)
    """Dimension of the features and of the transformer."""

    num_layers: int = from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = from_checkpoint(gt=0)
    """Attention heads; each has the same even part of the hidden size."""

    intermediate_size: int = from_checkpoint(gt=0)
    """Dimension of the hidden layer of each gated MLP."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"num_heads {self.num_heads} does not divide the hidden_size {self.hidden_size} into even parts"
            )
        return self

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of a series of ``length`` points: of each channel one for each whole patch."""
        return self.channels * (length // self.patch)
