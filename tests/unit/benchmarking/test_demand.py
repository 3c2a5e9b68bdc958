"""What a call needs at the least, against torch's own counter of operations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from modrwkv_core.benchmarking.costs.grid import Cell
from modrwkv_core.benchmarking.costs.models import DECODED, Contender, manifests
from modrwkv_core.benchmarking.costs.prompts import Prompts
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
from modrwkv_core.benchmarking.sizes import ModelSize

VOCAB = 65_536


def test_the_operations_of_a_transformer_are_those_that_torch_counts(tmp_path: Path) -> None:
    pytest.importorskip("modrwkv_transformer")
    size = MultimodalSize(ModelSize(2, 64, VOCAB), ModelSize(1, 64, VOCAB), image_size=32, batch_size=1)
    (tmp_path / "data").mkdir()
    loaded = manifests(tmp_path / "data", size, torch.float32)["transformer"]
    contender = Contender(loaded, tmp_path / "run", "cpu", torch.float32, attention_width=2 * 64)
    batch = Prompts(contender.model).batch(Cell(200, 1, 3))
    assert batch is not None
    with FlopCounterMode(display=False) as counter:
        state = contender.prefill(batch)
    # The counter does not know the CPU's attention: scores and sums of half of all pairs, in two layers.
    attention = 3 * 2 * (2 * 2 * 64 * 200**2 / 2)
    _, flops = contender.demand("prefill", batch, None)
    assert flops == pytest.approx(counter.get_total_flops() + attention, rel=0.01)
    with FlopCounterMode(display=False) as counter:
        contender.decode(state)
    nbytes, flops = contender.demand("decoding", batch, state)
    assert flops == counter.get_total_flops()
    matrices = flops / DECODED / (2 * 3)
    keys_and_values = 3 * 2 * 2 * 64 * 200
    assert nbytes == DECODED * 4 * (matrices + keys_and_values)
    _, flops = contender.demand("training step", batch, None)
    _, forward = contender.demand("prefill", batch, None)
    assert flops > 2 * forward
