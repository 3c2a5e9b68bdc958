from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_conv2d.compressor import Conv2dCompressor
from modrwkv_conv2d.config import Conv2dConfig
from pydantic import ValidationError

from modrwkv_core.interfaces.grids import Grid, GridLength
from modrwkv_core.interfaces.values import Features

SIDES = st.integers(1, 7)


@given(rows=SIDES, columns=SIDES, kernel=st.integers(1, 4), stride=st.integers(1, 4), data=st.data())
def test_outputs_are_kernels_at_their_places(
    rows: int, columns: int, kernel: int, stride: int, data: st.DataObject
) -> None:
    padding = data.draw(st.integers(0, kernel - 1))
    torch.manual_seed(0)
    config = Conv2dConfig(kernel=kernel, stride=stride, padding=padding, channels=2, bias=True)
    compressor = Conv2dCompressor(config, in_dim=3).double()
    x = torch.randn(rows, columns, 3, dtype=torch.float64)
    length = GridLength((rows, columns))
    found = compressor(Features(x.flatten(0, 1)[None], torch.tensor([length])).with_grids([length]))
    expected = []
    for top in range(-padding, rows + padding - kernel + 1, stride):
        for left in range(-padding, columns + padding - kernel + 1, stride):
            seen = torch.zeros(kernel, kernel, 3, dtype=torch.float64)
            for y in range(max(0, top), min(rows, top + kernel)):
                for z in range(max(0, left), min(columns, left + kernel)):
                    seen[y - top, z - left] = x[y, z]
            expected.append(torch.einsum("yzd,edyz->e", seen, compressor.conv.weight) + compressor.conv.bias)
    assert found.lengths.tolist() == [len(expected)] == [config.out_length(length)]
    if expected:
        torch.testing.assert_close(found.values[0], torch.stack(expected), rtol=0, atol=1e-12)


def test_grids_keep_their_shape_in_the_arithmetic() -> None:
    assert Conv2dConfig().out_grid(Grid(12, 21)) == (6, 11)
    assert Conv2dConfig(padding=0).out_grid(Grid(2, 9)) == (0, 4)


def test_outputs_keep_the_scale_of_the_inputs() -> None:
    torch.manual_seed(0)
    length = GridLength((32, 32))
    features = Features(torch.randn(1, length, 64), torch.tensor([length])).with_grids([length])
    assert Conv2dCompressor(Conv2dConfig(padding=0), 64)(features).values.std().item() == pytest.approx(1.0, rel=0.05)


def test_padding_is_below_the_kernel() -> None:
    with pytest.raises(ValidationError, match="padding 3 must be smaller than kernel 3"):
        Conv2dConfig(padding=3)
