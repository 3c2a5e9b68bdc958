"""Lengths that know their grids: they pass as numbers, and keep the grids where nothing else changes."""

import copy
import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.interfaces.grids import GridLength, grids_of, joined_length
from modrwkv_core.interfaces.values import Features, MediaItem

GRIDS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4)


@given(GRIDS)
def test_a_length_is_the_number_of_its_vectors(grids: list[tuple[int, int]]) -> None:
    length = GridLength(*grids)
    assert length == sum(len([None] * rows) * columns for rows, columns in grids)
    assert torch.tensor([length]).tolist() == [int(length)]
    assert f"{length}" == f"{int(length)}"
    assert grids_of(length) == tuple(grids)


@given(GRIDS)
def test_copies_keep_the_grids(grids: list[tuple[int, int]]) -> None:
    item = MediaItem({}, GridLength(*grids))
    for other in (pickle.loads(pickle.dumps(item)), copy.deepcopy(item), item.to("cpu")):
        assert (other.length, grids_of(other.length)) == (item.length, tuple(grids))


def test_arithmetic_leaves_no_grid() -> None:
    length = GridLength((3, 4))
    assert [grids_of(each) for each in (length + 1, 2 * length, -length, length // 2, sum([length]))] == [None] * 5


def test_joined_lengths_keep_grids_that_all_have() -> None:
    assert grids_of(joined_length([GridLength((3, 4)), GridLength((1, 1), (2, 2))])) == ((3, 4), (1, 1), (2, 2))
    assert (joined_length([GridLength((3, 4)), 1]), grids_of(joined_length([GridLength((3, 4)), 1]))) == (13, None)


def test_new_values_keep_the_grids() -> None:
    values = torch.ones(2, 4, 1)
    features = Features(values, torch.tensor([4, 2])).with_grids([GridLength((2, 2)), 2])
    assert features.grids == [((2, 2),), None]
    assert features.with_values(2 * values).grids == features.grids
