"""Checkpoints appear whole or not at all, and the last good one always loads."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.files import temporary_name
from modrwkv_core.interfaces.component import Component
from modrwkv_core.model.checkpoint import load_parts
from modrwkv_core.model.run import KEEP, RunFolder
from modrwkv_core.model.train_state import TrainState

TRAIN_STATE = TrainState(
    step=0, phase="align", phase_step=0, phase_done=False, validated=False, rng_state="00"
)


class Linear(nn.Linear, Component):
    """The smallest component."""


class Parts(nn.Module):
    """Stands for a model: it has named parts."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Linear(64, 64)
        self.adapter = Linear(64, 8)

    def parts(self) -> dict[str, nn.Module]:
        return {"backbone": self.backbone, "image.adapter": self.adapter}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(folder: RunFolder, model: Any, step: int, *, done: bool = False, frozen_parts: tuple[str, ...] = ()) -> Path:
    state = TRAIN_STATE.model_copy(update={"step": step, "phase_done": done})
    return folder.save(model, state, {}, methods={}, frozen_parts=frozen_parts)


def load(model: Any, checkpoint: Path) -> None:
    load_parts(model, checkpoint, {}, TrainState.read(checkpoint).files)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    folder, model, other = RunFolder(tmp_path), Parts(), Parts()
    checkpoint = save(folder, model, 3)
    load(other, checkpoint)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    state = TrainState.read(checkpoint)
    assert state == TRAIN_STATE.model_copy(update={"step": 3, "files": state.files})
    assert folder.latest() == checkpoint


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    good = save(folder, model, 1)
    with (
        largest_file(8192),
        pytest.raises(CheckpointError, match=r"step-00000002 could not be written.*\n.*free space"),
    ):
        save(folder, model, 2)
    assert folder.latest() == good
    assert [path.name for path in folder.checkpoints.iterdir()] == [good.name]
    load(model, good)
    again = save(folder, model, 2)
    assert folder.latest() == again


def test_what_a_kill_left_behind_is_ignored_and_cleared(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    good = save(folder, model, 1)
    left_over = folder.checkpoints / temporary_name()
    left_over.mkdir()
    (left_over / "backbone.safetensors").write_bytes(b"half of")
    assert folder.latest() == good
    save(folder, model, 2)
    assert not left_over.exists()


def test_unchanged_parts_are_linked_and_survive_the_removal_of_their_origin(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    first = save(folder, model, 1)
    inode = (first / "backbone.safetensors").stat().st_ino
    for step in range(2, 6):
        latest = save(folder, model, step, frozen_parts=("backbone",))
    assert not first.exists()
    assert (latest / "backbone.safetensors").stat().st_ino == inode
    assert (latest / "image.adapter.safetensors").stat().st_nlink == 1
    load(Parts(), latest)


def test_ends_of_phases_and_the_newest_are_kept(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    for step in range(1, 8):
        save(folder, model, step, done=step == 2)
    assert [int(path.name.removeprefix("step-")) for path in folder.steps()] == [2, 6, 7]
    assert KEEP == 2


@pytest.mark.parametrize("damage", ["truncate", "remove", "other"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    path = save(folder, model, 1) / "image.adapter.safetensors"
    if damage == "truncate":
        os.truncate(path, 100)
    elif damage == "remove":
        path.unlink()
    else:
        model.adapter = Linear(64, 9)
    before = model.adapter.weight.clone()
    with pytest.raises(CheckpointError, match=r"image\.adapter\.safetensors"):
        load(model, path.parent)
    assert torch.equal(before, model.adapter.weight)


def test_missing_and_unexpected_tensors_are_named(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    checkpoint = save(folder, model, 1)
    model.adapter = nn.Sequential(nn.Linear(64, 8))  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match=r"2 missing: 0\.bias, 0\.weight; 2 unexpected: bias, weight"):
        load(model, checkpoint)


def test_a_checkpoint_with_parts_of_another_manifest_is_refused(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    checkpoint = save(folder, model, 1)

    class Less(Parts):
        def parts(self) -> dict[str, nn.Module]:
            return {"backbone": self.backbone}

    with pytest.raises(CheckpointError, match=r"does not name: image\.adapter"):
        load(Less(), checkpoint)


def test_a_run_without_checkpoints_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="modrwkv train"):
        RunFolder(tmp_path).latest()
