"""The CLIP vision tower."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from modrwkv_clip.config import CLIPConfig
from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.pretrained import load_strictly, load_tensors, weight_files
from modrwkv_core.interfaces.values import Features, MediaItem

__all__ = ["CLIPEncoder"]

IGNORED: Final = (
    "text_model.*",
    "logit_scale",
    "text_projection.weight",
    "visual_projection.weight",
    "*post_layernorm.*",
    "*embeddings.position_ids",
)
"""What pretrained checkpoints hold beside the layers: the text tower, what pools a picture, a table of indices."""


class CLIPEncoder(Encoder[CLIPConfig]):
    """Pictures to one vector for each patch, and one for the class token if it is wanted.

    Source: Radford et al., CLIP, arXiv 2103.00020, section 2.4.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.tower = CLIPVisionModel(
            CLIPVisionConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.layers_run,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
            )
        )
        self.tower.register_module("post_layernorm", nn.Identity())  # it serves the pooled vector, which nobody takes

    def load_pretrained(self) -> None:
        """Load the checkpoint's vision tower up to the layer whose output is taken, all of it or nothing."""
        if self.config.checkpoint is None:
            return
        after = [f"*encoder.layers.{layer}.*" for layer in range(self.config.layers_run, self.config.num_layers)]
        tensors = load_tensors(self.config.checkpoint, ignore=(*IGNORED, *after))
        tower = {name.removeprefix("vision_model."): tensor for name, tensor in tensors.items()}
        load_strictly(self.tower, tower, self.config.checkpoint)

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the checkpoint's files of weights."""
        return () if self.config.checkpoint is None else tuple(weight_files(self.config.checkpoint))

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode pictures: ``values [N, patches, width]``, row by row from the upper left, after the class token."""
        pixels = torch.stack([item.tensors["pixels"] for item in items])
        values = self.tower(pixels).last_hidden_state
        if not self.config.cls:
            values = values[:, 1:]
        return Features(values, torch.full((len(items),), values.shape[1]))
