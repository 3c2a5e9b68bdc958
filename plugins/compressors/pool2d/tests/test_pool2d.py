from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_pool2d.compressor import Pool2dCompressor
from modrwkv_pool2d.config import Pool2dConfig
from torch.nn import functional

from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.values import Features

SIDES = st.integers(1, 9)


def pooled(x_RCD: torch.Tensor, config: Pool2dConfig) -> torch.Tensor:
    length = GridLength((x_RCD.shape[0], x_RCD.shape[1]))
    given = Features(x_RCD.flatten(0, 1)[None], torch.tensor([length])).with_grids([length])
    found = Pool2dCompressor(config, in_dim=x_RCD.shape[2])(given)
    assert found.lengths.tolist() == [config.out_length(length)]
    return found.values[0]


def windows(side: int, kernel: int, stride: int) -> list[slice]:
    """One after the other, until one reaches the end of the side."""
    found = []
    for begin in range(0, side, stride):
        found.append(slice(begin, begin + kernel))
        if begin + kernel >= side:
            break
    return found


@given(rows=SIDES, columns=SIDES, kernel=st.integers(1, 5), stride=st.integers(1, 5))
def test_outputs_are_the_means_of_squares(rows: int, columns: int, kernel: int, stride: int) -> None:
    x = torch.randn(rows, columns, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [
        x[down, right].numpy().mean(axis=(0, 1))
        for down in windows(rows, kernel, stride)
        for right in windows(columns, kernel, stride)
    ]
    found = pooled(x, Pool2dConfig(kernel=kernel, stride=stride))
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=0, atol=1e-12)


@given(rows=SIDES, columns=SIDES, kernel=SIDES, stride=SIDES)
def test_squares_are_those_of_torch(rows: int, columns: int, kernel: int, stride: int) -> None:
    kernel = min(kernel, rows, columns)  # torch refuses or drops the other cases
    stride = min(stride, kernel)
    x = torch.randn(rows, columns, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = functional.avg_pool2d(x.permute(2, 0, 1)[None], kernel, stride, ceil_mode=True, count_include_pad=False)
    found = pooled(x, Pool2dConfig(kernel=kernel, stride=stride))
    torch.testing.assert_close(found, expected[0].flatten(1).T, rtol=0, atol=1e-12)


def test_the_step_is_the_kernel_unless_given() -> None:
    assert Pool2dConfig(kernel=2).out_length(GridLength((24, 24))) == 144
    assert Pool2dConfig(kernel=2, stride=1).out_length(GridLength((24, 24))) == 23 * 23
