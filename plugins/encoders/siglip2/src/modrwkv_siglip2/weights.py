"""The weights of published SigLIP 2 checkpoints."""

from __future__ import annotations

from typing import Final

from torch import nn

from modrwkv_core.interfaces.pretrained import load_strictly, load_tensors

__all__ = ["load_tower"]

IGNORED: Final = (
    "text_model.*",
    "logit_scale",
    "logit_bias",
    "vision_model.head.*",
    "head.*",
    "*embeddings.position_ids",
)
"""What pretrained checkpoints hold beside the vision tower: the text tower, the pooling head, a table of indices."""


def load_tower(tower: nn.Module, checkpoint: str) -> None:
    """Load a checkpoint's vision tower into ``tower``, all of it or nothing.

    Raises:
        CheckpointError: Weights are missing or damaged, or tensors are missing, unexpected or of another shape.
    """
    tensors = load_tensors(checkpoint, ignore=IGNORED)
    load_strictly(tower, {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}, checkpoint)
