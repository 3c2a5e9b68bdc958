"""Orders of reading, by the places of a small grid and by what holds for every grid."""

import itertools
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modrwkv_core.interfaces.config import GridCompressorConfig
from modrwkv_core.interfaces.grid_compressor import GridCompressor
from modrwkv_core.interfaces.grids import Grid, GridLength
from modrwkv_core.interfaces.reading_order import ReadingOrder, reading_order
from modrwkv_core.interfaces.values import Features

SIDES = st.integers(1, 8)


class SameConfig(GridCompressorConfig):
    type: str = "same"

    def out_grid(self, grid: Grid) -> Grid:
        return grid


class Same(GridCompressor[SameConfig]):
    def compress(self, x_GRCD: Tensor) -> Tensor:
        return x_GRCD


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("rows", [0, 1, 2, 3, 4, 5]),
        ("columns", [0, 3, 1, 4, 2, 5]),
        ("snake", [0, 1, 2, 5, 4, 3]),
        ("bidirectional", [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]),
        ("cross", [0, 1, 2, 3, 4, 5, 0, 3, 1, 4, 2, 5, 5, 2, 4, 1, 3, 0, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_a_grid_of_two_rows(order: ReadingOrder, expected: list[int]) -> None:
    assert reading_order(order, Grid(2, 3)) == expected
    length = GridLength((2, 3))
    features = Features(torch.arange(6.0).reshape(1, 6, 1), torch.tensor([6])).with_grids([length])
    found = Same(SameConfig(order=order), in_dim=1)(features)
    assert found.values.flatten().tolist() == expected
    assert found.lengths.tolist() == [len(expected)] == [SameConfig(order=order).out_length(length)]


@given(rows=SIDES, columns=SIDES)
def test_a_snake_never_jumps(rows: int, columns: int) -> None:
    places = [divmod(place, columns) for place in reading_order("snake", Grid(rows, columns))]
    assert len(set(places)) == rows * columns
    assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in itertools.pairwise(places))


@given(order=st.sampled_from(get_args(ReadingOrder)), rows=SIDES, columns=SIDES)
def test_every_place_is_read_equally_often(order: ReadingOrder, rows: int, columns: int) -> None:
    times = {"bidirectional": 2, "cross": 4}.get(order, 1)
    assert sorted(reading_order(order, Grid(rows, columns))) == sorted(list(range(rows * columns)) * times)


def test_only_rows_are_a_grid_again() -> None:
    kept = [
        isinstance(SameConfig(order=order).out_length(GridLength((2, 3))), GridLength)
        for order in get_args(ReadingOrder)
    ]
    assert kept == [True, False, False, False, False]
