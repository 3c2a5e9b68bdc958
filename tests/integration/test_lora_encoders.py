"""LoRA on the layers of the encoders of this repository, which are those of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from modrwkv_lora.config import LoRAConfig
from modrwkv_lora.finetuning import LoRAFinetuning
from torch import Tensor

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.registry import discover

SIZES = {"init": "scratch", "hidden_size": 24, "num_layers": 2, "num_heads": 3, "intermediate_size": 40}
IMAGE = SIZES | {"image_size": 34, "patch_size": 8}
WAVLM = SIZES | {
    "rate": 16_000,
    "normalize": True,
    "conv_dim": (12, 12, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "conv_bias": False,
    "conv_norm": "group",
    "norm_first": False,
    "position_kernel": 8,
    "position_groups": 2,
    "buckets": 16,
    "max_distance": 20,
}
RANDOM = np.random.default_rng(0)
PICTURE = Image(RANDOM.integers(0, 256, (50, 61, 3), dtype=np.uint8))
SOUND = Waveform(RANDOM.uniform(-0.5, 0.5, 800).astype(np.float32), 16_000)
SERIES = TimeSeries(RANDOM.normal(size=(60, 1)).cumsum(axis=0).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "settings", "signal"),
    [
        ("siglip2", IMAGE, PICTURE),
        ("clip", IMAGE, PICTURE),
        ("wavlm", WAVLM, SOUND),
        ("whisper", SIZES | {"mel_bins": 20, "window": 25}, SOUND),
        ("timer", SIZES | {"patch": 12}, SERIES),
    ],
)
def test_updates_reach_every_layer_and_merge(name: str, settings: dict[str, Any], signal: Any) -> None:
    registry = discover()
    config = registry.config_class("encoder", name).model_validate({"type": name} | settings)
    torch.manual_seed(0)
    encoder = build_encoder(registry, config)
    item = build_processor(registry, config)(signal)

    def outputs() -> Tensor:
        values: Tensor = encoder.eval()([item]).values
        return values

    assert isinstance(encoder, Encoder)
    before = outputs().detach()
    lora = LoRAFinetuning(LoRAConfig(rank=2))
    lora.prepare(encoder)
    torch.testing.assert_close(outputs(), before, atol=1e-5, rtol=1e-4)
    learns = {key: each for key, each in encoder.named_parameters() if key in lora.trainable(encoder)}
    with torch.no_grad():
        for parameter in learns.values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    updated = outputs()
    torch.autograd.backward((updated * torch.randn_like(updated)).sum())
    dead = [key for key, each in learns.items() if each.grad is None or not each.grad.abs().max() > 0]
    assert not dead
    assert not torch.allclose(updated, before, atol=1e-2)
    lora.merge(encoder)
    torch.testing.assert_close(outputs(), updated, atol=1e-4, rtol=1e-3)
    assert not any("lora" in key for key in encoder.state_dict())
