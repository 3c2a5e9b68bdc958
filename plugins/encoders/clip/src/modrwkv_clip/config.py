"""What a manifest may say about ``max_grad_norm``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from modrwkv_clip.pretrained import PAPER_CHECKPOINT, published_sizes
from modrwkv_core.interfaces.config import CheckpointReference, EncoderConfig

__all__ = ["CLIPConfig"]


def _from_checkpoint(**constraints: Any) -> Any:
    return Field(default=None, **constraints)


class CLIPConfig(EncoderConfig):
    """One feature for each patch of a picture: a late layer of a CLIP vision tower, neither normalized nor pooled.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. What is not given of the rest is the checkpoint's,
    or from scratch that of ``openai/clip-vit-large-patch14-336``; a valid configuration holds it all, so that a run
    needs the checkpoint no more.

    Source: Radford et al., CLIP, arXiv 2103.00020; the penultimate layer without the class token is LLaVA's choice
    (Liu et al., arXiv 2304.08485, section 4.1).
    """

    type: Literal["clip"] = "clip"

    checkpoint: CheckpointReference | None = None
    """Pretrained weights: a Hugging Face model id, a local folder, or a weight file with ``config.json`` beside it."""

    init: Literal["scratch"] | None = None
    """``scratch`` for fresh weights, trained with the rest."""

    layer: Literal["penultimate", "last"] = _from_checkpoint()
    """Whose output the features are. With a checkpoint ``penultimate`` unless told otherwise, from scratch ``last``.
    What lies after that layer is not built."""

    cls: bool = False
    """Whether the class token's vector comes first, before those of the patches."""

    image_size: int = _from_checkpoint(gt=0)
    """Height and width in pixels of the square that is cut from the middle of the resized picture."""

    patch_size: int = _from_checkpoint(gt=0)
    """Height and width of a patch in pixels."""

    hidden_size: int = _from_checkpoint(gt=0)
    """Width of the features and of all layers."""

    num_layers: int = _from_checkpoint(gt=0)
    """Transformer layers, those after ``layer`` included."""

    num_heads: int = _from_checkpoint(gt=0)
    """Attention heads; they divide the width."""

    intermediate_size: int = _from_checkpoint(gt=0)
    """Width inside a layer's MLP."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.checkpoint is None) == (self.init is None):
            raise ValueError("give either a checkpoint or init: scratch")
        missing = {name for name, value in self if value is None} - {"checkpoint", "init"}
        known: dict[str, Any] = {"layer": "last" if self.checkpoint is None else "penultimate"}
        if missing - {"layer"}:
            known |= published_sizes(self.checkpoint or PAPER_CHECKPOINT)
        self.__dict__.update({name: known[name] for name in missing})  # frozen for everybody but this validator
        if self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        if self.patch_size > self.image_size:
            raise ValueError(f"a patch of {self.patch_size} pixels does not fit into a picture of {self.image_size}")
        if not self.layers_run:
            raise ValueError("a tower of one layer has no penultimate one; use layer: last")
        return self

    @property
    def layers_run(self) -> int:
        """Number of layers up to the one whose output the features are."""
        return self.num_layers - (self.layer == "penultimate")

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
        """Number of features of a picture of ``length`` patches: one for each, and with ``cls`` one more."""
        return length + self.cls
