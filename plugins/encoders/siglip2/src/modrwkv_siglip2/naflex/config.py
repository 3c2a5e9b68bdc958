"""What a manifest may say about ``siglip2_naflex``."""

from __future__ import annotations

from math import isqrt
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.pretrained_config import from_checkpoint
from modrwkv_core.interfaces.vision_tower_config import VisionTowerConfig
from modrwkv_siglip2.pretrained import FIXED_CHECKPOINTS, NAFLEX_CHECKPOINTS, NAFLEX_FILES

__all__ = ["Siglip2NaflexConfig"]


class Siglip2NaflexConfig(VisionTowerConfig):
    """One feature for each patch of an image in its own aspect ratio: the last layer of a SigLIP 2 NaFlex tower.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``google/siglip2-base-patch16-naflex``. A valid configuration holds all of
    them, so a run no longer needs the checkpoint.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786, section 2.4.2.
    """

    type: Literal["siglip2_naflex"] = "siglip2_naflex"

    default_checkpoint: ClassVar = "google/siglip2-base-patch16-naflex"
    known_checkpoints: ClassVar = NAFLEX_CHECKPOINTS
    config_files: ClassVar = NAFLEX_FILES
    other_types: ClassVar = dict.fromkeys(("siglip", *FIXED_CHECKPOINTS), "siglip2")

    max_patches: int = from_checkpoint(gt=0)
    """Largest number of patches of an image. Images are made as large as it allows, small ones too; more patches
    show more detail. The pretrained towers were trained with 128 to 1024."""

    positions: int = from_checkpoint(gt=0)
    """Number of learned positions, those of a square of patches; they are resized to each image's grid."""

    resample: Literal["bilinear", "bicubic"] = from_checkpoint()
    """How images are resized; SigLIP 2 was trained with bilinear."""

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        if isqrt(self.positions) ** 2 != self.positions:
            raise ValueError(f"{self.positions} positions are not those of a square of patches")
        return self

    @property
    def typical_length(self) -> int:
        """Largest number of patches, which square images reach and others come close to, in as square a grid."""
        rows = next(rows for rows in range(isqrt(self.max_patches), 0, -1) if self.max_patches % rows == 0)
        return GridLength((rows, self.max_patches // rows))
