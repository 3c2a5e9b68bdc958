"""Timer as an encoder.

N = series, L = features of the longest, S = channels of all series, T = patches of the longest, P = points of a patch,
W = hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_timer.config import TimerConfig
from modrwkv_timer.network import Timer

__all__ = ["TimerEncoder"]


class TimerEncoder(PretrainedEncoder[TimerConfig]):
    """Series to one feature for each patch and channel, which depends on that patch and those before it.

    Source: Liu et al., Timer, arXiv 2402.02368.
    """

    prefixes = ("model.",)
    unused = ("lm_heads.*",)

    def __init__(self, config: TimerConfig) -> None:
        super().__init__(config)
        self.model: Any = Timer(
            config.patch, config.hidden_size, config.num_layers, config.num_heads, config.intermediate_size
        )

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode ``items`` in one padded batch: ``[N, L, W]``.

        Attention is causal, so padding after a series never reaches its features.
        """
        channels = [channel_TP for item in items for channel_TP in item.tensors["patches"]]
        patches_STP = pad_sequence(channels, batch_first=True)
        encoded_STW = self.model(patches_STP.to(self.model.norm.weight.dtype))
        lengths = [self.config.out_length(item.length) for item in items]
        features = [
            series[:, : length // self.config.channels].flatten(0, 1)
            for series, length in zip(encoded_STW.split(self.config.channels), lengths, strict=True)
        ]
        return Features(pad_sequence(features, batch_first=True), torch.tensor(lengths))
