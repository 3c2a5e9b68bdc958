"""The WavLM speech model."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import WavLMModel

from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_wavlm.config import WavLMConfig
from modrwkv_wavlm.filters import gabor_filters
from modrwkv_wavlm.grouped_conv import avoid_misaligned_groups

__all__ = ["WavLMEncoder"]


class WavLMEncoder(PretrainedEncoder[WavLMConfig]):
    """Recordings to one vector for every 20 ms (the stride of the convolutions).

    The base model's convolutions normalize over time, where padding would change the result, so they run on recordings
    of equal length together. Others see no further than their window, and run on all at once, as the transformer does
    with its padding masked.

    Source: Chen et al., WavLM, arXiv 2110.13900; the ModRWKV paper takes the last layer.
    """

    prefixes = ("wavlm.",)
    unused = (
        "masked_spec_embed",
        "lm_head.*",
        "projector.*",
        "classifier.*",
        "layer_weights",
        "tdnn.*",
        "feature_extractor.weight",
        "feature_extractor.bias",
        "objective.*",
    )
    """The mask of pre-training, and the heads of upstream's fine-tuned models."""
    renamed: ClassVar = {
        "conv.weight_g": "conv.parametrizations.weight.original0",
        "conv.weight_v": "conv.parametrizations.weight.original1",
    }
    """Names of the parts of a normalized weight in PyTorch before 2.0."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        self.model: Any = WavLMModel(
            transformers.WavLMConfig(
                conv_dim=config.conv_dim,
                conv_kernel=config.conv_kernel,
                conv_stride=config.conv_stride,
                conv_bias=config.conv_bias,
                feat_extract_norm=config.conv_norm,
                hidden_size=config.hidden_size,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                intermediate_size=config.intermediate_size,
                do_stable_layer_norm=config.norm_first,
                num_conv_pos_embeddings=config.position_kernel,
                num_conv_pos_embedding_groups=config.position_groups,
                num_buckets=config.buckets,
                max_bucket_distance=config.max_distance,
                hidden_dropout=config.dropout,
                activation_dropout=config.dropout,
                attention_dropout=config.dropout,
                feat_proj_dropout=config.dropout,
                layerdrop=0.0,
                apply_spec_augment=False,
                mask_time_prob=0.0,
            )
        )
        avoid_misaligned_groups(self.model.encoder.pos_conv_embed.conv)
        if config.first_filters == "gabor":
            filters = gabor_filters(config.conv_dim[0], config.conv_kernel[0], config.rate)
            self.model.get_parameter("feature_extractor.conv_layers.0.conv.weight").data.copy_(filters[:, None])

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode recordings: ``values [N, features of the longest, hidden_size]``."""
        frames = self._frames(items)
        lengths = torch.tensor([len(frame) for frame in frames])
        padded, _ = self.model.feature_projection(pad_sequence(frames, batch_first=True))
        features = Features(padded, lengths)
        mask = features.mask()
        with warnings.catch_warnings():
            # The model gives attention a mask of truth values beside a bias of numbers.
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")
            encoded = self.model.encoder(padded, attention_mask=None if mask.all() else mask)
        return features.with_values(encoded.last_hidden_state)

    def _frames(self, items: Sequence[MediaItem]) -> list[Tensor]:
        """Run the convolutions: for each item ``[features, channels of the last convolution]``."""
        dtype = self.model.dtype
        together: dict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(items):
            together[item.length if self.config.conv_norm == "group" else 0].append(place)
        frames: dict[int, Tensor] = {}
        for places in together.values():
            samples = pad_sequence([items[place].tensors["samples"].to(dtype) for place in places], batch_first=True)
            features = self.model.feature_extractor(samples).transpose(1, 2)
            for place, feature in zip(places, features, strict=True):
                frames[place] = feature[: self.config.out_length(items[place].length)]
        return [frames[place] for place in range(len(items))]
