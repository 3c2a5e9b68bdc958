"""The moving average of weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.training.ema import EMA


@given(
    decay=st.floats(0.01, 0.9999),
    weights=st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=30),
)
def test_is_the_weighted_mean_of_all_weights_so_far(decay: float, weights: list[float]) -> None:
    parameter = nn.Parameter(torch.tensor([weights[0]]))
    ema = EMA(decay, {"w": parameter})
    expected = weights[0]
    for count, weight in enumerate(weights[1:], start=1):
        with torch.no_grad():
            parameter.fill_(weight)
        ema.update()
        kept = min(decay, (1 + count) / (10 + count))
        expected = kept * expected + (1 - kept) * weight
    ema.copy_to_parameters()
    assert float(parameter.detach()) == pytest.approx(expected, abs=1e-4)


def test_small_changes_of_bfloat16_weights_add_up() -> None:
    parameter = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    ema = EMA(0.999, {"w": parameter})
    with torch.no_grad():
        parameter.fill_(1.0078125)
    for _ in range(20_000):
        ema.update()
    ema.copy_to_parameters()
    assert float(parameter.detach()) == 1.0078125
    assert ema.tensors()["w"].dtype == torch.float32


def test_a_copy_goes_on_alike_and_another_models_average_is_refused() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    ema, other = EMA(0.9, {"w": parameter}), EMA(0.9, {"w": parameter})
    with torch.no_grad():
        parameter.fill_(1.0)
    ema.update()
    other.load_tensors(ema.tensors())
    ema.update()
    other.update()
    assert torch.equal(ema.tensors()["w"], other.tensors()["w"])
    with pytest.raises(CheckpointError, match="that of other parameters: v, w"):
        EMA(0.9, {"v": parameter}).load_tensors(ema.tensors())
