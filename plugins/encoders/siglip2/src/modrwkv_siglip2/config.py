"""What a manifest may say about ``siglip2``."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig, from_checkpoint
from modrwkv_siglip2.pretrained import FIXED_CHECKPOINTS, FIXED_FILES, NAFLEX_CHECKPOINTS

__all__ = ["Siglip2Config"]


class Siglip2Config(PretrainedEncoderConfig):
    """One feature for each patch of an image: the last layer of a SigLIP 2 vision tower, normalized, not pooled.

    Give ``checkpoint`` for pretrained weights (any SigLIP or SigLIP 2 of fixed resolution), or ``init: scratch``. Sizes
    that are not given are read from the checkpoint, or from scratch are those of ``google/siglip2-base-patch16-384``. A
    valid configuration holds all of them, so a run no longer needs the checkpoint.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786.
    """

    type: Literal["siglip2"] = "siglip2"

    default_checkpoint: ClassVar = "google/siglip2-base-patch16-384"
    known_checkpoints: ClassVar = FIXED_CHECKPOINTS
    config_files: ClassVar = FIXED_FILES
    other_types: ClassVar = dict.fromkeys(("siglip2", *NAFLEX_CHECKPOINTS), "siglip2_naflex")

    image_size: int = from_checkpoint(gt=0)
    """Height and width in pixels to which every image is resized."""

    patch_size: int = from_checkpoint(gt=0)
    """Height and width of a patch in pixels."""

    hidden_size: int = from_checkpoint(gt=0)
    """Dimension of the features and of all layers."""

    num_layers: int = from_checkpoint(gt=0)
    """Transformer layers."""

    num_heads: int = from_checkpoint(gt=0)
    """Attention heads; they divide the hidden size."""

    intermediate_size: int = from_checkpoint(gt=0)
    """Dimension of the hidden layer of each MLP."""

    resample: Literal["bilinear", "bicubic"] = from_checkpoint()
    """How images are resized; SigLIP 2 was trained with bilinear."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        if self.patch_size > self.image_size:
            raise ValueError(f"a patch of {self.patch_size} pixels does not fit into an image of {self.image_size}")
        return self

    @property
    def patches(self) -> int:
        """Number of patches of an image, in their grid."""
        side = self.image_size // self.patch_size
        return GridLength((side, side))

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    @property
    def typical_length(self) -> int:
        """Number of patches of an image, which is always the same."""
        return self.patches

    @property
    def fixed_length(self) -> int:
        """Number of patches of an image."""
        return self.patches

    def out_length(self, length: int) -> int:
        """Number of features of an image of ``length`` patches: one for each."""
        return length
