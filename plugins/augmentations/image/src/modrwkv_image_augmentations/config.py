"""What a manifest may say about the augmentations of images."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import AugmentationConfig

__all__ = ["ColorJitterConfig", "RandAugmentConfig", "RandomFlipConfig", "RandomResizedCropConfig", "RandomShiftConfig"]


class RandomFlipConfig(AugmentationConfig):
    """A mirrored image.

    It is wrong for data whose answers know left from right: positions, directions, text in images, digits.
    """

    type: Literal["random_flip"] = "random_flip"

    probability: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the images that are mirrored."""

    direction: Literal["horizontal", "vertical"] = "horizontal"
    """What is swapped: left and right, or top and bottom."""


class RandomResizedCropConfig(AugmentationConfig):
    """A random rectangle of an image, resized to the image's own size.

    It is wrong for data that ask for what the rectangle may leave out.

    Source: Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842.
    """

    type: Literal["random_resized_crop"] = "random_resized_crop"

    min_area: float = Field(default=0.5, gt=0.0, le=1.0)
    """Smallest share of the area that is kept; drawn uniformly up to 1."""

    max_stretch: float = Field(default=4 / 3, ge=1.0, le=10.0)
    """Most that the rectangle's aspect ratio differs from the image's, as a factor."""


class RandomShiftConfig(AugmentationConfig):
    """An image moved sideways and up or down; its edges are continued."""

    type: Literal["random_shift"] = "random_shift"

    max_share: float = Field(default=0.1, gt=0.0, le=0.5)
    """Longest way, as a share of width and height, at least one pixel."""


class ColorJitterConfig(AugmentationConfig):
    """Random brightness, contrast, saturation and hue.

    ``hue`` is wrong for data that ask for colors, and so are large values of the others.
    """

    type: Literal["color_jitter"] = "color_jitter"

    brightness: float = Field(default=0.2, ge=0.0, le=1.0)
    """Factors are drawn uniformly from 1 minus this to 1 plus this."""

    contrast: float = Field(default=0.2, ge=0.0, le=1.0)
    """As ``brightness``."""

    saturation: float = Field(default=0.2, ge=0.0, le=1.0)
    """As ``brightness``."""

    hue: float = Field(default=0.0, ge=0.0, le=0.5)
    """Turn on the color wheel, drawn uniformly from minus this to this; 0.5 is half a turn."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            raise ValueError("nothing is left to change: raise one of brightness, contrast, saturation and hue")
        return self


class RandAugmentConfig(AugmentationConfig):
    """A few operations drawn from 14: rotation, shear, shift, brightness, color, contrast, sharpness and others.

    It is wrong for data that ask for positions, directions or exact colors.

    Source: Cubuk et al., RandAugment, arXiv 1909.13719.
    """

    type: Literal["rand_augment"] = "rand_augment"

    operations: int = Field(default=2, ge=1, le=14)
    """Operations in a row."""

    magnitude: int = Field(default=9, ge=1, le=30)
    """Their strength, on a scale up to 30."""
