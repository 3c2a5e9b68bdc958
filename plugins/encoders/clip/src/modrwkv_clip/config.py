"""What a manifest may say about ``clip``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from modrwkv_clip.pretrained import KNOWN_CHECKPOINTS, MODEL_FILE, check_processor
from modrwkv_core.interfaces.pretrained_config import from_checkpoint
from modrwkv_core.interfaces.vision_tower_config import SquareVisionTowerConfig

__all__ = ["CLIPConfig"]


def _usual_layer(known: dict[str, Any]) -> Literal["penultimate", "last"]:
    return "last" if known.get("checkpoint") is None else "penultimate"


class CLIPConfig(SquareVisionTowerConfig):
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

    num_layers: int = from_checkpoint(gt=0)
    """Transformer layers, those after ``layer`` included."""

    @model_validator(mode="after")
    def _check_layer(self) -> Self:
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

    def out_length(self, length: int) -> int:
        """Number of features of an image of ``length`` patches: one for each, and with ``cls`` one more."""
        return length + 1 if self.cls else length
