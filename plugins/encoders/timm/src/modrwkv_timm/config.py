"""What a manifest may say about ``timm``. Imports timm only to find out what a configuration leaves open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig

__all__ = ["TimmConfig"]


class TimmConfig(PretrainedEncoderConfig):
    """A vision backbone of timm: one feature for each place of the grid that it computes, row by row.

    Give ``checkpoint`` for pretrained weights: the hub's ``timm/NAME``, a folder with timm's ``config.json``, or a
    weight file together with ``model``; or give ``model`` and ``init: scratch``. The rest is read from the checkpoint
    or from timm's own configuration of the model. A valid configuration holds all of it, so a run no longer needs the
    checkpoint, and lengths and widths are known without timm.

    Source: Wightman, PyTorch Image Models, 10.5281/zenodo.4414861.
    """

    type: Literal["timm"] = "timm"

    default_checkpoint: ClassVar = "timm/vit_base_patch16_siglip_384.v2_webli"
    config_files: ClassVar = ()

    model: str | None = None
    """timm's name, with or without the tag of pretrained weights: ``vit_small_patch14_dinov2.lvd142m``."""

    model_args: dict[str, Any] | None = None
    """Further arguments of timm's ``create_model``, such as ``drop_path_rate``."""

    blocks: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Blocks (or stages) whose features are taken, joined on channels, counted from 0 or from the end: ``[-2]``. None
    takes those that the model itself goes on with, normalized: ``forward_features``."""

    keep_prefix_tokens: bool = False
    """Put the class and register tokens before the features of the grid."""

    image_size: int | None = Field(default=None, gt=0)
    """Height and width in pixels of what the model sees."""

    mean: tuple[float, float, float] | None = None
    """What is subtracted from each color, as a fraction of 255."""

    std: tuple[float, float, float] | None = None
    """What each color is divided by."""

    interpolation: Literal["bilinear", "bicubic", "nearest", "lanczos"] | None = None
    """How images are resized."""

    crop_pct: float | None = Field(default=None, gt=0.0)
    """Share of the resized image that the crop keeps."""

    crop_mode: Literal["center", "squash", "border"] | None = None
    """Whether an image is cropped to its middle, squeezed to a square or padded to one."""

    hidden_size: int | None = Field(default=None, gt=0)
    """Dimension of the features. Leave it out: it follows from the model."""

    patches: int | None = Field(default=None, gt=0)
    """Places of the grid. Leave it out: it follows from the model."""

    prefix_tokens: int | None = Field(default=None, ge=0)
    """Tokens before the grid. Leave it out: it follows from the model."""

    @model_validator(mode="after")
    def _fill_from_timm(self) -> Self:
        optional = {"checkpoint", "init", "blocks"}
        if any(value is None for name, value in self if name not in optional):
            from modrwkv_timm.catalog import missing_values

            self.__dict__.update(missing_values(self))  # frozen except for this validator
        if self.keep_prefix_tokens and not self.prefix_tokens:
            raise ValueError(f"{self.model} has no class or register tokens to keep")
        return self

    @classmethod
    def known_models(cls) -> Sequence[str]:
        """Return all names of timm, with the tags of pretrained weights."""
        from modrwkv_timm.catalog import model_names

        return model_names()

    @property
    def out_dim(self) -> int:
        """Dimension of a feature."""
        return _known(self.hidden_size)

    @property
    def typical_length(self) -> int:
        """Places of the grid, the same for every image; images are square, and so is their grid."""
        side = math.isqrt(_known(self.patches))
        return GridLength((side, side))

    def out_length(self, length: int) -> int:
        """Number of features of an image of ``length`` places: one for each, and one for each token that is kept."""
        return length + _known(self.prefix_tokens) if self.keep_prefix_tokens else length


def _known(value: int | None) -> int:
    assert value is not None, "completed by the validator"
    return value
