"""The operations of a step, against torch's own count, and peaks of devices."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.packing import pack
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble, conversation_encoder
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.flops import StepFlops, device_peak, peak_flops

MANIFEST = {
    "modalities": {
        "image": {
            "encoder": {
                "type": "siglip2", "init": "scratch", "image_size": 64, "patch_size": 8, "hidden_size": 64,
                "num_layers": 2, "num_heads": 2, "intermediate_size": 256,
            },
            "adapter": {"type": "mlp", "expansion": 4},
        }
    },
    "heads": {"lm": {"type": "lm"}},
    "backbone": {"type": "rwkv7", "num_layers": 2, "hidden_size": 128},
    "data": {"train": [{"source": "chat", "path": "talks.jsonl"}]},
    "phases": [{"name": "align", "train": ["adapter"], "lr": 1e-3, "steps": 1}],
}  # fmt: skip


def made(manifest: Callable[..., Path]) -> tuple[MultimodalModel, Batch]:
    torch.manual_seed(0)
    model = assemble(load_manifest(manifest(**MANIFEST)), pretrained=False)
    picture = Media("image", torch.zeros(64, 64, 3, dtype=torch.uint8).numpy())
    turns = (Turn("user", (picture, Text("What is it?"))), Turn("assistant", (Text("black " * 40),)))
    return model, pack([conversation_encoder(model, None).sample(Record("r", turns))])


@pytest.mark.parametrize("trained", [("embedders",), ("backbone",), ("embedders", "backbone")])
def test_the_count_is_near_torchs(tiny_manifest: Callable[..., Path], trained: tuple[str, ...]) -> None:
    model, batch = made(tiny_manifest)
    model.requires_grad_(False)
    for name in trained:
        getattr(model, name).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        sum(model.losses(batch).values()).backward()
    # Torch also counts attention, here 64 patches of 64 channels, but no custom operation such as the loss.
    loss = StepFlops(model)._label * len(batch.supervised)
    assert StepFlops(model)(batch) - loss == pytest.approx(counter.get_total_flops(), rel=0.25)


def test_peaks_are_known_by_name() -> None:
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA L4") == 121e12
    assert peak_flops("NVIDIA L40S") == 362e12
    assert peak_flops("Abacus 3000") is None
    assert device_peak(torch.device("cpu")) is None
