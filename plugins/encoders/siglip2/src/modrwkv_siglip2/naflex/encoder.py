"""The SigLIP 2 NaFlex vision tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Siglip2VisionConfig, Siglip2VisionModel

from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_siglip2.naflex.config import Siglip2NaflexConfig
from modrwkv_siglip2.pixels import normalized
from modrwkv_siglip2.weights import PREFIXES, UNUSED

__all__ = ["Siglip2NaflexEncoder"]


class Siglip2NaflexEncoder(PretrainedEncoder[Siglip2NaflexConfig]):
    """Images in their own aspect ratio to one vector for each patch.

    The learned positions of a square are resized to each image's grid (bilinear, with antialiasing); attention does
    not see the padding of images of fewer patches.

    Source: Tschannen et al., SigLIP 2, arXiv 2502.14786, section 2.4.2.
    """

    prefixes = PREFIXES
    unused = UNUSED

    def __init__(self, config: Siglip2NaflexConfig) -> None:
        super().__init__(config)
        self.model = Siglip2VisionModel(
            Siglip2VisionConfig(
                num_patches=config.positions,
                patch_size=config.patch_size,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
                vision_use_head=False,
            )
        )

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode images: ``values [N, patches of the longest, hidden_size]``, row by row from the upper left."""
        patches = normalized(pad_sequence([item.tensors["patches"] for item in items], batch_first=True))
        padded = Features(patches, torch.tensor([item.length for item in items]))
        grids = torch.stack([item.tensors["grid"] for item in items]).cpu()  # read one by one, which waits for a GPU
        encoded = self.model(patches, pixel_attention_mask=padded.mask(), spatial_shapes=grids)
        return padded.with_values(encoded.last_hidden_state)
