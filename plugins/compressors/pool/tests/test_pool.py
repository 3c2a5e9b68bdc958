from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_pool.compressor import PoolCompressor
from modrwkv_pool.config import PoolConfig
from torch.nn import functional

from modrwkv_core.interfaces.values import Features

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=4)
SIZES = st.integers(1, 12)


def features(lengths: list[int], after: float = 0.0) -> Features:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(len(lengths), max(lengths), 3, generator=generator, dtype=torch.float64)
    given = Features(values, torch.tensor(lengths))
    return Features(values.masked_fill(~given.mask()[..., None], after), given.lengths)


def means(x_LD: np.ndarray, kernel: int, stride: int) -> list[np.ndarray]:
    """Window by window, until one reaches the end of the item."""
    found: list[np.ndarray] = []
    for begin in range(0, len(x_LD), stride):
        found.append(x_LD[begin : begin + kernel].mean(axis=0))
        if begin + kernel >= len(x_LD):
            break
    return found


@given(lengths=LENGTHS, kernel=SIZES, stride=SIZES)
def test_outputs_are_the_means_of_the_windows_of_each_item(lengths: list[int], kernel: int, stride: int) -> None:
    config = PoolConfig(kernel=kernel, stride=stride)
    pooled = PoolCompressor(config, in_dim=3)(features(lengths, after=1e9))
    assert pooled.lengths.tolist() == [config.out_length(length) for length in lengths]
    assert pooled.values.shape == (len(lengths), max(pooled.lengths), 3)
    for row, length in enumerate(lengths):
        expected = means(features(lengths).values[row, :length].numpy(), kernel, stride)
        assert pooled.lengths[row] == len(expected)
        for position, mean in enumerate(expected):
            np.testing.assert_allclose(pooled.values[row, position].numpy(), mean, rtol=0, atol=1e-12)
        assert not pooled.values[row, len(expected) :].any()


@given(length=st.integers(1, 60), kernel=SIZES, stride=SIZES)
def test_lengths_are_those_of_torch(length: int, kernel: int, stride: int) -> None:
    kernel, stride = min(kernel, length), min(stride, kernel, length)  # torch refuses or drops the other cases
    expected = functional.avg_pool1d(torch.zeros(1, 1, length), kernel, stride, ceil_mode=True).shape[2]
    assert PoolConfig(kernel=kernel, stride=stride).out_length(length) == expected


@pytest.mark.parametrize(("stride", "length"), [(None, 144), (2, 287)])
def test_the_step_is_the_kernel_unless_given(stride: int | None, length: int) -> None:
    assert PoolConfig(kernel=4, stride=stride).out_length(576) == length


def test_gradients_reach_the_features_of_the_items_only() -> None:
    given = features([5, 3])
    given.values.requires_grad_()
    PoolCompressor(PoolConfig(kernel=2), in_dim=3)(given).values.sum().backward()
    assert given.values.grad is not None
    shares = [[0.5, 0.5, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 0.0, 0.0]]
    np.testing.assert_allclose(given.values.grad[..., 0].numpy(), shares)
