"""Speech towers of transformers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, AutoModel

from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.interfaces.waveform_encoder import WaveformEncoder, model_options
from modrwkv_hf_audio.config import HFAudioConfig

__all__ = ["HFAudioEncoder"]


class HFAudioEncoder(WaveformEncoder[HFAudioConfig]):
    """Recordings to one vector for every 20 ms (the stride of the convolutions).

    Source: Baevski et al., wav2vec 2.0, arXiv 2006.11477; Hsu et al., HuBERT, arXiv 2106.07447; Baevski et al.,
    data2vec, arXiv 2202.03555; the networks are those of transformers.
    """

    prefixes = ("wav2vec2.", "hubert.", "data2vec_audio.")

    def __init__(self, config: HFAudioConfig) -> None:
        super().__init__(config)
        options = model_options(config) | _further_options(config)
        upstream_config = AutoConfig.for_model(config.architecture, **options)
        self.model = AutoModel.from_config(upstream_config)  # type: ignore[no-untyped-call]

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode recordings: ``values [N, features of the longest, hidden_size]``."""
        if self.config.position_layers == 1:
            return super().forward(items)
        # From the second convolution of positions on, padding is no longer zero and would reach into a recording.
        together: dict[int, list[int]] = defaultdict(list)
        for place, item in enumerate(items):
            together[self.config.out_length(item.length)].append(place)
        values: dict[int, Tensor] = {}
        for places in together.values():
            values |= zip(places, super().forward([items[place] for place in places]).values, strict=True)
        ordered = [values[place] for place in range(len(items))]
        return Features(pad_sequence(ordered, batch_first=True), torch.tensor([len(each) for each in ordered]))


def _further_options(config: HFAudioConfig) -> dict[str, Any]:
    match config.architecture:
        case "data2vec-audio":
            return {
                "num_conv_pos_embeddings": config.position_layers,
                "conv_pos_kernel_size": config.position_kernel,
            }
        case "hubert":
            return {"feat_proj_layer_norm": config.projection_norm}
        case "wav2vec2":
            return {"adapter_attn_dim": config.adapter_dim or None}
