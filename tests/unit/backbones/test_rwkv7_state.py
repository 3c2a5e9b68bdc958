"""The laws of a state."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from modrwkv_core.backbones.rwkv7 import RWKV7State
from modrwkv_core.errors import CheckpointError, WriteError
from modrwkv_core.storage import files


def random_state(rows: int, shift: torch.dtype = torch.float32) -> RWKV7State:
    return RWKV7State(
        torch.randn(2, rows, 3, 4, 4), torch.randn(2, rows, 12).to(shift), torch.randn(2, rows, 12).to(shift)
    )


def assert_same(ours: RWKV7State, expected: RWKV7State) -> None:
    for name in ("matrix", "time_shift", "channel_shift"):
        mine, other = getattr(ours, name), getattr(expected, name)
        assert mine.dtype == other.dtype
        assert torch.equal(mine, other)


@given(rows=st.integers(1, 5))
def test_stacking_single_rows_gives_the_state_back(rows: int) -> None:
    state = random_state(rows)
    assert state.batch_size == rows
    assert_same(RWKV7State.stack([state.select([row]) for row in range(rows)]), state)


@given(rows=st.integers(1, 4), copies=st.integers(1, 4))
def test_a_fork_repeats_every_row(rows: int, copies: int) -> None:
    state = random_state(rows)
    fork = state.fork(copies)
    assert_same(fork, state.select([row for row in range(rows) for _ in range(copies)]))


@given(first=st.lists(st.integers(0, 3), min_size=1, max_size=5), data=st.data())
def test_selections_compose(first: list[int], data: st.DataObject) -> None:
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=5))
    state = random_state(4)
    assert_same(state.select(first).select(second), state.select([first[index] for index in second]))


@pytest.mark.parametrize("derive", [lambda s: s.fork(), lambda s: s.select([0, 1]), lambda s: RWKV7State.stack([s])])
def test_derived_states_are_independent(derive: object) -> None:
    state = random_state(2)
    copy = derive(state)  # type: ignore[operator]
    for tensor in (copy.matrix, copy.time_shift, copy.channel_shift):
        assert tensor.any()
        tensor.zero_()
    assert state.matrix.any()
    assert state.time_shift.any()
    assert state.channel_shift.any()


def test_to_a_device() -> None:
    moved = random_state(2).to("meta")
    assert moved.matrix.device.type == moved.time_shift.device.type == moved.channel_shift.device.type == "meta"


@pytest.mark.parametrize("shift", [torch.float32, torch.bfloat16])
def test_a_saved_state_comes_back_bit_for_bit(tmp_path: Path, shift: torch.dtype) -> None:
    state = random_state(3, shift)
    state.matrix.requires_grad_()
    state.save(tmp_path / "state.safetensors")
    assert_same(RWKV7State.load(tmp_path / "state.safetensors"), state)
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_view_of_a_state_is_saved_whole(tmp_path: Path) -> None:
    state = random_state(3)
    view = RWKV7State(state.matrix[:, :1], state.time_shift[:, :1], state.channel_shift[:, :1])
    view.save(tmp_path / "state.safetensors")
    assert_same(RWKV7State.load(tmp_path / "state.safetensors"), state.select([0]))


def test_a_failed_save_keeps_the_former_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    former = random_state(2)
    former.save(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match=r"cannot write .*state\.safetensors.*No space left"):
        random_state(2).save(path)
    assert_same(RWKV7State.load(path), former)
    assert list(tmp_path.iterdir()) == [path]


def test_saving_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="cannot write"):
        random_state(1).save(tmp_path / "file" / "state.safetensors")


def test_files_that_are_no_state_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(CheckpointError, match="there is no state"):
        RWKV7State.load(path)
    save_file({"matrix": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a rwkv7 state"):
        RWKV7State.load(path)
    random_state(2).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be read"):
        RWKV7State.load(path)
