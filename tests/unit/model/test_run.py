"""Checkpoints appear whole or not at all, and the last good one always loads."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.model.checkpoint import check_names, load_parts, part_files
from modrwkv_core.model.run import KEEP, RunFolder
from modrwkv_core.model.train_state import TRAIN_STATE as TRAIN_STATE_FILE
from modrwkv_core.model.train_state import RngState, TrainState
from modrwkv_core.storage.files import temporary_name

TRAIN_STATE = TrainState(
    step=0, phase="align", phase_step=0, phase_done=False, validated=False, rng_states=(RngState(cpu="00"),)
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
    return folder.save(part_files(model, {}), state, {}, frozen_parts=frozen_parts)


def load(model: Any, checkpoint: Path) -> None:
    check_names(model.parts(), checkpoint)
    load_parts(model.parts(), checkpoint, {}, TrainState.read(checkpoint).files)


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

    class Nested(Component):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 8)

    model.adapter = Nested()  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match=r"2 missing: inner\.bias, inner\.weight; 2 unexpected: bias, weight"):
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


def test_a_flipped_bit_or_a_swapped_part_is_found_out(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    checkpoint = save(folder, model, 1)
    path = checkpoint / "backbone.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"backbone\.safetensors is not the file that was saved"):
        load(model, checkpoint)
    (tmp_path / "other").mkdir()
    save(RunFolder(tmp_path / "other"), Parts(), 1)
    path.write_bytes((tmp_path / "other/checkpoints/step-00000001/backbone.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="is not the file that was saved"):
        load(model, checkpoint)


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    with torch.no_grad():
        model.adapter.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match=r"holds NaN or infinity in bias \(image\.adapter\)"):
        load(Parts(), save(folder, model, 1))


def test_a_half_removed_checkpoint_does_not_count_and_pruning_goes_on(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    for step in (1, 2):
        save(folder, model, step)
    (folder.checkpoint(1) / TRAIN_STATE_FILE).unlink()
    (folder.checkpoint(2) / TRAIN_STATE_FILE).write_text("damaged")
    for step in (3, 4, 5):
        save(folder, model, step)
    assert [path.name for path in folder.steps()] == ["step-00000002", "step-00000004", "step-00000005"]
    assert folder.latest() == folder.checkpoint(5)


def test_a_kill_while_a_checkpoint_is_removed_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = RunFolder(tmp_path), Parts()
    for step in (1, 2):
        save(folder, model, step)
    with monkeypatch.context() as patch:
        patch.setattr("modrwkv_core.model.run.shutil.rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            save(folder, model, 3)
    assert [path.name for path in folder.steps()] == ["step-00000002", "step-00000003"]
    save(folder, model, 4)
    assert all(path.name.startswith("step-") for path in folder.checkpoints.iterdir()), "what was left is cleared"


def test_a_folder_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(CheckpointError, match="No such file or directory"):
        save(folder, Parts(), 1)
    assert not folder.path.exists()


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        with pytest.raises(CheckpointError, match=r"another process is training in .*run"), folder.locked():
            pass
        (folder.path / "file").touch()
    with folder.locked():
        pass
    with RunFolder(tmp_path / "empty").locked():
        pass
    assert not (tmp_path / "empty").exists(), "a training that wrote nothing leaves nothing"


def test_the_lock_of_a_killed_training_is_free(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with folder.locked():
            os.write(writing, b"locked")
            signal.pause()
    os.read(reading, 6)
    with pytest.raises(CheckpointError, match="another process"), folder.locked():
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with folder.locked():
        pass
