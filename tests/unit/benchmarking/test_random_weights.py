"""Models of benchmarks have weights, and values that stay finite."""

from __future__ import annotations

from pathlib import Path

import torch

from modrwkv_core.benchmarking.multimodal_data import MultimodalSize, write_run
from modrwkv_core.benchmarking.random_weights import assemble_at_random
from modrwkv_core.benchmarking.sizes import ModelSize


def test_no_weight_is_missing_and_values_keep_their_scale(tmp_path: Path) -> None:
    size = MultimodalSize(ModelSize(3, 64, 320), ModelSize(1, 64, 320), 32, 1)
    loaded = write_run(tmp_path, size, modality="image", train="align", precision="float32", workers=0)
    model = assemble_at_random(loaded, "cpu").eval()
    assert not any(parameter.isnan().any() for parameter in model.parameters())
    with torch.no_grad():
        hidden, _ = model.backbone(model.backbone.embed(torch.arange(100)[None]), None)
        assert 0.1 < model.backbone.logits(hidden).std() < 10
