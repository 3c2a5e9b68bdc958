"""The WavLM speech model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import transformers
from transformers import WavLMModel

from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.interfaces.waveform_encoder import WaveformEncoder, model_options
from modrwkv_wavlm.config import WavLMConfig
from modrwkv_wavlm.filters import gabor_filters

__all__ = ["WavLMEncoder"]


class WavLMEncoder(WaveformEncoder[WavLMConfig]):
    """Recordings to one vector for every 20 ms (the stride of the convolutions).

    Source: Chen et al., WavLM, arXiv 2110.13900; the ModRWKV paper takes the last layer.
    """

    prefixes = ("wavlm.",)

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        options = model_options(config) | {"num_buckets": config.buckets, "max_bucket_distance": config.max_distance}
        self.model = WavLMModel(transformers.WavLMConfig(**options))
        if config.first_filters == "gabor":
            filters = gabor_filters(config.conv_dim[0], config.conv_kernel[0], config.rate)
            self.model.get_parameter("feature_extractor.conv_layers.0.conv.weight").data.copy_(filters[:, None])

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode recordings: ``values [N, features of the longest, hidden_size]``."""
        with warnings.catch_warnings():
            # The model gives attention a mask of truth values beside a bias of numbers.
            warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask and attn_mask")
            return super().forward(items)
