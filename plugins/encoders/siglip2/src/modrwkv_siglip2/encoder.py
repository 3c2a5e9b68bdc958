"""The SigLIP 2 vision tower of fixed resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_siglip2.config import Siglip2Config
from modrwkv_siglip2.pixels import normalized
from modrwkv_siglip2.weights import PREFIXES, UNUSED

__all__ = ["Siglip2Encoder"]


class Siglip2Encoder(PretrainedEncoder[Siglip2Config]):
    """Images to one vector for each patch.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786; the ModRWKV paper takes the last layer after its norm.
    """

    prefixes = PREFIXES
    unused = UNUSED

    def __init__(self, config: Siglip2Config) -> None:
        super().__init__(config)
        self.model = SiglipVisionModel(
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

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode images: ``values [N, patches, hidden_size]``, row by row from the upper left."""
        pixels = normalized(torch.stack([item.tensors["pixels"] for item in items]))
        values = self.model(pixels).last_hidden_state
        return Features(values, torch.full((len(items),), values.shape[1]))
