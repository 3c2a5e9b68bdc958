"""What a manifest may say about ``clip``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from modrwkv_clip.pretrained import KNOWN_CHECKPOINTS, MODEL_FILE, check_processor
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.pretrained_config import PretrainedEncoderConfig, from_checkpoint

__all__ = ["CLIPConfig"]


def _usual_layer(known: dict[str, Any]) -> Literal["penultimate", "last"]:
    return "last" if known.get("checkpoint") is None else "penultimate"


class CLIPConfig(PretrainedEncoderConfig):
    """One feature for each patch of an image: a late layer of a CLIP vision tower, neither normalized nor pooled.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``openai/clip-vit-large-patch14-336``. A valid configuration holds all of
    them, so a run no longer needs the checkpoint.

    Source: Radford et al., CLIP, arXiv 2103.00020; the penultimate layer without the class token is LLaVA's choice
    (Liu et al., arXiv 2304.08485, section 4.1).
    """

    type: Literal["clip"] = "clip"

    default_checkpoint: ClassVar = "openai/clip-vit-large-patch14-336"
    known_checkpoints: ClassVar = KNOWN_CHECKPOINTS
    config_files: ClassVar = (MODEL_FILE,)

    layer: Literal["penultimate", "last"] = Field(default_factory=_usual_layer)
    """Whose output the features are. With a checkpoint ``penultimate`` unless told otherwise, from scratch ``last``.
    What lies after that layer is not built."""

    cls: bool = False
    """Whether the class token's vector comes first, before those of the patches."""

    image_size: int = from_checkpoint(gt=0)
    """Height and width in pixels of the square that is cut from the middle of the resized image."""

    patch_size: int = from_checkpoint(gt=0)
    """Height and width of a patch in pixels."""

    hidden_size: int = from_checkpoint(gt=0)
    """Dimension of the features and of all layers."""

    num_layers: int = from_checkpoint(gt=0)
    """Transformer layers, those after ``layer`` included."""

    num_heads: int = from_checkpoint(gt=0)
    """Attention heads; they divide the hidden size."""

    intermediate_size: int = from_checkpoint(gt=0)
    """Dimension of the hidden layer of each MLP."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        if self.patch_size > self.image_size:
            raise ValueError(f"a patch of {self.patch_size} pixels does not fit into an image of {self.image_size}")
        if not self.layers_run:
            raise ValueError("a tower of one layer has no penultimate one; use layer: last")
        return self

    @classmethod
    def read_checkpoint(cls, reference: str, names: Collection[str]) -> Mapping[str, Any]:
        """Return what a checkpoint states, if its own processor does what ours does."""
        values = super().read_checkpoint(reference, names)
        if reference not in cls.known_checkpoints:
            check_processor(reference, values["image_size"])
        return values

    @property
    def layers_run(self) -> int:
        """Number of layers up to the one whose output the features are."""
        return self.num_layers - (self.layer == "penultimate")

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
        """Number of features of an image of ``length`` patches: one for each, and with ``cls`` one more."""
        return length + 1 if self.cls else length
