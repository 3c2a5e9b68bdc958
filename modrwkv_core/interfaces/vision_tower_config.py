"""The bases of configurations of vision transformers with pretrained weights. Never imports torch."""

from __future__ import annotations

from abc import ABC
from typing import Self

from pydantic import model_validator

from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig, from_checkpoint

__all__ = ["SquareVisionTowerConfig", "VisionTowerConfig"]


class VisionTowerConfig(PretrainedEncoderConfig, ABC):
    """One feature for each patch of an image: a transformer over square patches."""

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

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        return self

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return self.hidden_size

    def out_length(self, length: int) -> int:
        """Number of features of an image of ``length`` patches: one for each."""
        return length


class SquareVisionTowerConfig(VisionTowerConfig, ABC):
    """A tower that reads square images of one size."""

    image_size: int = from_checkpoint(gt=0)
    """Height and width in pixels of the images that the tower reads."""

    @model_validator(mode="after")
    def _check_patch(self) -> Self:
        if self.patch_size > self.image_size:
            raise ValueError(f"a patch of {self.patch_size} pixels does not fit into an image of {self.image_size}")
        return self

    @property
    def patches(self) -> int:
        """Number of patches of an image, in their grid."""
        side = self.image_size // self.patch_size
        return GridLength((side, side))

    @property
    def typical_length(self) -> int:
        """Number of patches of an image, which is always the same."""
        return self.patches

    @property
    def fixed_length(self) -> int:
        """Number of patches of an image."""
        return self.patches
