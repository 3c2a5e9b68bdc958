"""What a manifest may say about ``timer``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import CheckpointReference, EncoderConfig
from modrwkv_timer.pretrained import BASE_CHECKPOINT, published_sizes

__all__ = ["TimerConfig"]


def _from_checkpoint(**constraints: Any) -> Any:
    return Field(default=None, **constraints)


class TimerConfig(EncoderConfig):
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

    checkpoint: CheckpointReference | None = None
    """Pretrained weights: a Hugging Face model id, a local folder, or a weight file with ``config.json`` beside it."""

    init: Literal["scratch"] | None = None
    """``scratch`` for fresh weights, trained with the rest."""

    channels: int = Field(default=1, ge=1)
    """Measurements at each point of the series."""

    normalize: bool = True
    """Shift and scale each window to mean 0 and standard deviation 1, each channel by itself. A constant channel
    becomes zeros."""

    patch: int = _from_checkpoint(gt=0)
    """Points that make one feature; a series with fewer is refused."""

    hidden_size: int = _from_checkpoint(gt=0)
    """Width of the features and of the transformer."""

    num_layers: int = _from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = _from_checkpoint(gt=0)
    """Attention heads; each has the same even part of the width."""

    intermediate_size: int = _from_checkpoint(gt=0)
    """Width inside a layer's gated MLP."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.checkpoint is None) == (self.init is None):
            raise ValueError("give either a checkpoint or init: scratch")
        missing = {name for name, value in self if value is None} - {"checkpoint", "init"}
        if missing:
            known = published_sizes(self.checkpoint or BASE_CHECKPOINT)
            self.__dict__.update({name: known[name] for name in missing})  # frozen for everybody but this validator
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"num_heads {self.num_heads} do not divide the hidden_size {self.hidden_size} into even parts"
            )
        return self

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of a series of ``length`` points: of each channel one for each whole patch."""
        return self.channels * (length // self.patch)
