"""What a manifest may say about ``siglip2_naflex``."""

from __future__ import annotations

from math import isqrt
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import CheckpointReference, EncoderConfig
from modrwkv_siglip2.pretrained import NAFLEX_CHECKPOINT, published_naflex_input, published_naflex_sizes

__all__ = ["Siglip2NaflexConfig"]


def _from_checkpoint(**constraints: Any) -> Any:
    return Field(default=None, **constraints)


class Siglip2NaflexConfig(EncoderConfig):
    """One feature for each patch of a picture in its own aspect ratio: the last layer of a SigLIP 2 NaFlex tower.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. What is not given of the rest is the checkpoint's,
    or from scratch that of ``google/siglip2-base-patch16-naflex``; a valid configuration holds it all, so that a run
    needs the checkpoint no more.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786, section 2.4.2.
    """

    type: Literal["siglip2_naflex"] = "siglip2_naflex"

    checkpoint: CheckpointReference | None = None
    """Pretrained weights: a Hugging Face model id, a local folder, or a weight file with ``config.json`` beside it."""

    init: Literal["scratch"] | None = None
    """``scratch`` for fresh weights, trained with the rest."""

    max_patches: int = _from_checkpoint(gt=0)
    """Largest number of patches of a picture. Pictures are made as large as it allows, small ones too; more patches
    show more detail. The pretrained towers were trained with 128 to 1024."""

    patch_size: int = _from_checkpoint(gt=0)
    """Height and width of a patch in pixels."""

    positions: int = _from_checkpoint(gt=0)
    """Number of learned positions, those of a square of patches; they are resized to each picture's grid."""

    hidden_size: int = _from_checkpoint(gt=0)
    """Width of the features and of all layers."""

    num_layers: int = _from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = _from_checkpoint(gt=0)
    """Attention heads; they divide the width."""

    intermediate_size: int = _from_checkpoint(gt=0)
    """Width inside a layer's MLP."""

    resample: Literal["bilinear", "bicubic"] = _from_checkpoint()
    """How pictures are resized; SigLIP 2 was trained with bilinear."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.checkpoint is None) == (self.init is None):
            raise ValueError("give either a checkpoint or init: scratch")
        missing = {name for name, value in self if value is None} - {"checkpoint", "init"}
        reference = self.checkpoint or NAFLEX_CHECKPOINT
        known: dict[str, Any] = {}
        if missing & {"max_patches", "resample"}:
            known |= published_naflex_input(reference)
        if missing - {"max_patches", "resample"}:
            known |= published_naflex_sizes(reference)
        self.__dict__.update({name: known[name] for name in missing})  # frozen for everybody but this validator
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        if isqrt(self.positions) ** 2 != self.positions:
            raise ValueError(f"{self.positions} positions are not those of a square of patches")
        return self

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        return self.hidden_size

    @property
    def typical_length(self) -> int:
        """Largest number of patches, which square pictures reach and others come close to."""
        return self.max_patches

    def out_length(self, length: int) -> int:
        """Number of features of a picture of ``length`` patches: one for each."""
        return length
