"""The base of encoders with the architecture of wav2vec 2.0, whose network is a model of ``transformers``.

A subclass's constructor builds the network with :func:`model_options` and more where its model needs more::

    class MyEncoder(WaveformEncoder[MyConfig]):
        prefixes = ("hubert.",)

        def __init__(self, config: MyConfig) -> None:
            super().__init__(config)
            self.model = HubertModel(HubertConfig(**model_options(config)))
"""

from __future__ import annotations

from abc import ABC
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.interfaces.waveform_config import MODEL_KEYS, WaveformEncoderConfig

__all__ = ["WaveformEncoder", "model_options"]

ConfigT = TypeVar("ConfigT", bound=WaveformEncoderConfig)


def model_options(config: WaveformEncoderConfig) -> dict[str, Any]:
    """Return the options of a model's configuration in ``transformers``. Layer drop and SpecAugment are off."""
    return {key: getattr(config, name) for name, key in MODEL_KEYS.items()} | {
        "hidden_dropout": config.dropout,
        "activation_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "feat_proj_dropout": config.dropout,
        "layerdrop": 0.0,
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
    }


class WaveformEncoder(PretrainedEncoder[ConfigT], ABC):
    """Recordings to one vector for every stride of the convolutions (20 ms).

    The base models' convolutions normalize over time, where padding would change the result, so they run on recordings
    of equal length together. Others see no further than their window, and run on all at once, as the transformer does
    with its padding masked.

    Source: Baevski et al., wav2vec 2.0, arXiv 2006.11477, section 2.
    """

    model: Any
    unused = (
        "masked_spec_embed",
        "quantizer.*",
        "project_hid.*",
        "project_q.*",
        "lm_head.*",
        "projector.*",
        "classifier.*",
        "layer_weights",
        "tdnn.*",
        "feature_extractor.weight",
        "feature_extractor.bias",
        "objective.*",
    )
    """The mask and the targets of pre-training, and the heads of upstream's fine-tuned models."""
    renamed: ClassVar = {
        "conv.weight_g": "conv.parametrizations.weight.original0",
        "conv.weight_v": "conv.parametrizations.weight.original1",
    }
    """Names of the parts of a normalized weight in PyTorch before 2.0."""

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode recordings: ``values [N, features of the longest, hidden_size]``."""
        frames = self._frames(items)
        lengths = torch.tensor([len(frame) for frame in frames])
        projected = self.model.feature_projection(pad_sequence(frames, batch_first=True))
        # Some models of transformers give the input of the projection, too.
        features = Features(projected[0] if isinstance(projected, tuple) else projected, lengths)
        mask = features.mask()
        encoded = self.model.encoder(features.values, attention_mask=None if mask.all() else mask)
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
