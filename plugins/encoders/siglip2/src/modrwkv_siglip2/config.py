"""What a manifest may say about ``siglip2``."""

from __future__ import annotations

from typing import ClassVar, Literal

from modrwkv_core.interfaces.pretrained_config import from_checkpoint
from modrwkv_core.interfaces.vision_tower_config import SquareVisionTowerConfig
from modrwkv_siglip2.pretrained import FIXED_CHECKPOINTS, FIXED_FILES, NAFLEX_CHECKPOINTS

__all__ = ["Siglip2Config"]


class Siglip2Config(SquareVisionTowerConfig):
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

    resample: Literal["bilinear", "bicubic"] = from_checkpoint()
    """How images are resized; SigLIP 2 was trained with bilinear."""
