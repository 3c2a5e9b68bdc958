"""The SigLIP 2 vision tower of fixed resolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.pretrained import weight_files
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_siglip2.config import Siglip2Config
from modrwkv_siglip2.weights import load_tower

__all__ = ["Siglip2Encoder"]


class Siglip2Encoder(Encoder[Siglip2Config]):
    """Pictures to one vector for each patch.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786; the ModRWKV paper takes the last layer after its norm.
    """

    def __init__(self, config: Siglip2Config) -> None:
        super().__init__(config)
        self.tower = SiglipVisionModel(
            SiglipVisionConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
                vision_use_head=False,
            )
        )

    def load_pretrained(self) -> None:
        """Load the checkpoint's vision tower, all of it or nothing."""
        if self.config.checkpoint is not None:
            load_tower(self.tower, self.config.checkpoint)

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the checkpoint's files of weights."""
        return () if self.config.checkpoint is None else tuple(weight_files(self.config.checkpoint))

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode pictures: ``values [N, patches, width]``, row by row from the upper left."""
        pixels = torch.stack([item.tensors["pixels"] for item in items])
        values = self.tower(pixels).last_hidden_state
        return Features(values, torch.full((len(items),), values.shape[1]))
