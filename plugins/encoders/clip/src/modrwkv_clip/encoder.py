"""The CLIP vision tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from modrwkv_clip.config import CLIPConfig
from modrwkv_clip.pretrained import MEAN, STD
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem

__all__ = ["CLIPEncoder"]


class CLIPEncoder(PretrainedEncoder[CLIPConfig]):
    """Images to one vector for each patch, and one for the class token if it is wanted.

    Source: Radford et al., CLIP, arXiv 2103.00020, section 2.4.
    """

    prefixes = ("vision_model.",)
    unused = (
        "text_model.*",
        "logit_scale",
        "text_projection.weight",
        "visual_projection.weight",
        "post_layernorm.*",
        "embeddings.position_ids",
    )
    """The text tower, what pools an image, a table of indices."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.model = CLIPVisionModel(
            CLIPVisionConfig(
                image_size=config.image_size,
                patch_size=config.patch_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.layers_run,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
            )
        )
        self.model.register_module("post_layernorm", nn.Identity())  # it serves the pooled vector, which is not used

    def unused_tensors(self) -> tuple[str, ...]:
        """Return :attr:`unused` and the layers after the one whose output the features are."""
        after = range(self.config.layers_run, self.config.num_layers)
        return (*self.unused, *(f"encoder.layers.{layer}.*" for layer in after))

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode images: ``values [N, patches, hidden_size]``, row by row, after the class token."""
        pixels = normalize_pixels(torch.stack([item.tensors["pixels"] for item in items]), MEAN, STD)
        values = self.model(pixels).last_hidden_state
        if not self.config.cls:
            values = values[:, 1:]
        return Features(values, torch.full((len(items),), values.shape[1]))
