"""What a manifest may say about ``siglip2``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import CheckpointReference, EncoderConfig
from modrwkv_siglip2.pretrained import PAPER_CHECKPOINT, published_resampling, published_sizes

__all__ = ["Siglip2Config"]


def _from_checkpoint(**constraints: Any) -> Any:
    return Field(default=None, **constraints)


class Siglip2Config(EncoderConfig):
    """One feature for each patch of a picture: the last layer of a SigLIP 2 vision tower, normalized, not pooled.

    Give ``checkpoint`` for pretrained weights (any SigLIP or SigLIP 2 of fixed resolution), or ``init: scratch``. What
    is not given of the rest is the checkpoint's, or from scratch that of ``google/siglip2-base-patch16-384``; a valid
    configuration holds it all, so that a run needs the checkpoint no more.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786.
    """

    type: Literal["siglip2"] = "siglip2"

    checkpoint: CheckpointReference | None = None
    """Pretrained weights: a Hugging Face model id, a local folder, or a weight file with ``config.json`` beside it."""

    init: Literal["scratch"] | None = None
    """``scratch`` for fresh weights, trained with the rest."""

    image_size: int = _from_checkpoint(gt=0)
    """Height and width in pixels to which every picture is resized."""

    patch_size: int = _from_checkpoint(gt=0)
    """Height and width of a patch in pixels."""

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
        reference = self.checkpoint or PAPER_CHECKPOINT
        known: dict[str, Any] = {}
        if "resample" in missing:
            known |= {"resample": published_resampling(reference)}
        if missing - {"resample"}:
            known |= published_sizes(reference)
        self.__dict__.update({name: known[name] for name in missing})  # frozen for everybody but this validator
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        if self.patch_size > self.image_size:
            raise ValueError(f"a patch of {self.patch_size} pixels does not fit into a picture of {self.image_size}")
        return self

    @property
    def patches(self) -> int:
        """Number of patches of a picture."""
        return (self.image_size // self.patch_size) * (self.image_size // self.patch_size)

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        return self.hidden_size

    @property
    def typical_length(self) -> int:
        """Number of patches of a picture, which is always the same."""
        return self.patches

    def out_length(self, length: int) -> int:
        """Number of features of a picture of ``length`` patches: one for each."""
        return length
