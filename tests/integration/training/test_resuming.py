"""Runs that were interrupted, or go on with another manifest, data or versions."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from text_runs import ONE, TWO, Manifest, assert_same_run, losses, program, run, stopped_at, weights

from modrwkv_core.errors import CheckpointError
from modrwkv_core.inference.loading import load
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.training import phase
from modrwkv_core.training.interrupts import TrainingInterruptedError

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_says_so_and_goes_on_bit_for_bit(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals
) -> None:
    phase = ONE | {"checkpoint_every": None, "log_every": 4}
    manifest = text_manifest(phases=[phase])
    whole = run(manifest, tmp_path / "whole")
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with (
        stopped_at(monkeypatch, 3, lambda: os.kill(os.getpid(), signum)),
        pytest.raises(TrainingInterruptedError, match=r"interrupted by .*\n.*--resume from .*step-00000003"),
    ):
        run(manifest, tmp_path / "run")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    folder = run(manifest, tmp_path / "run", resume=True)
    assert_same_run(whole, folder)  # the means of four steps, three of them before the break, included


def test_preemption_saves_and_is_no_failure(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest(phases=[ONE | {"steps": 10**4, "checkpoint_every": None}])
    with program(manifest, tmp_path / "run") as process:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 0
    assert "interrupted by SIGTERM" in errors
    assert "Traceback" not in errors
    assert RunFolder(tmp_path / "run").steps()


def test_an_interrupted_validation_is_repeated(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = text_manifest(data={"valid": [{"source": "chat", "path": "talks.jsonl"}]}, phases=[ONE, TWO])
    whole = run(manifest, tmp_path / "whole")

    def interrupted(*_: Any, **__: Any) -> None:
        raise TrainingInterruptedError(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(phase, "validate", interrupted)
        with pytest.raises(TrainingInterruptedError, match="repeats its validation"):
            run(manifest, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert TrainState.read(folder.latest()).phase_done
    assert_same_run(whole, run(manifest, folder.path, resume=True))


def test_a_kill_between_validation_and_its_mark_repeats_no_line(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = text_manifest(data={"valid": [{"source": "chat", "path": "talks.jsonl"}]}, phases=[ONE, TWO])
    whole = run(manifest, tmp_path / "whole")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "update", killed)
        with pytest.raises(KeyboardInterrupt):
            run(manifest, tmp_path / "run")
    assert losses(RunFolder(tmp_path / "run"))[-1][3] is not None, "the line of the validation is there"
    assert_same_run(whole, run(manifest, tmp_path / "run", resume=True))


def test_changed_data_are_refused_on_resume(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = text_manifest()
    folder = run(manifest, tmp_path / "run")
    shutil.rmtree(folder.latest())
    path = manifest.parent / "talks.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(CheckpointError, match="9 records of chat then, 4 records of chat now"):
        run(manifest, folder.path, resume=True)


@pytest.fixture(scope="module")
def in_phase_one(write_text_manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A manifest of two phases, and a run of it that was ended in the first."""
    folder = tmp_path_factory.mktemp("in-phase-one")
    manifest = write_text_manifest(folder / "project", phases=[ONE, TWO])
    ended = run(manifest, folder / "run")
    for path in ended.steps():
        if TrainState.read(path).step >= 6:
            shutil.rmtree(path)
    return manifest, ended.path


@pytest.mark.parametrize(
    "change",
    [
        "data.workers=1",
        "phases.one.log_every=5",
        "phases.one.checkpoint_every=4",
        "plugins.prefer={encoder/siglip2: modrwkv-siglip2}",
        "phases.two.lr=0.5",
        "phases.two.steps=3",
        "data.on_error=skip",
        "evaluation={}",
    ],
)
def test_what_does_not_change_the_past_may_change_on_resume(
    in_phase_one: tuple[Path, Path], tmp_path: Path, change: str
) -> None:
    manifest, ended = in_phase_one
    folder = RunFolder(shutil.copytree(ended, tmp_path / "run"))
    before = TrainState.read(folder.latest())
    assert (before.phase, before.phase_done) == ("one", False)
    resumed = run(manifest, folder.path, change, resume=True)
    assert TrainState.read(resumed.latest()).phase == "two"
    assert load(resumed.path, device="cpu")


def test_other_changes_are_refused_by_the_keys_that_differ(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest(phases=[ONE, TWO])
    folder = run(manifest, tmp_path / "run")
    for change, message in {
        "seed=1": r"seed \(was 0, is 1\)",
        "phases.one.lr=0.5": r"phases\.one\.lr \(was 0\.001, is 0\.5\)",
        "phases.one.optimizer={type: adamw, eps: 1e-5}": r"phases\.one\.optimizer\.eps",
        "phases.one.steps=9": r"phases\.one\.steps \(was 6, is 9\)",
        "data.batch_size=3": r"data\.batch_size",
        "backbone.num_layers=2": r"backbone\.num_layers",
    }.items():
        with pytest.raises(CheckpointError, match=rf"another manifest: {message}"):
            run(manifest, folder.path, change, resume=True)
    with pytest.raises(CheckpointError, match="has taken 2 steps, but is 1 steps long"):
        run(manifest, folder.path, "phases.two.steps=1", resume=True)


def test_a_complete_run_is_extended(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest()
    folder = run(manifest, tmp_path / "run")
    run(manifest, folder.path, "phases.one.steps=8", resume=True)
    state = TrainState.read(folder.latest())
    assert (state.step, state.phase_done) == (8, True)
    assert [line[0] for line in losses(folder)] == list(range(1, 9))
    longer = text_manifest(phases=[ONE | {"steps": 8}, TWO])
    run(longer, folder.path, resume=True)
    assert TrainState.read(folder.latest()).phase == "two"
    assert yaml.safe_load(folder.manifest.read_text())["phases"][1]["name"] == "two"


def test_other_versions_are_mentioned_on_resume(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest()
    folder = run(manifest, tmp_path / "run")
    shutil.rmtree(folder.latest())
    lock = json.loads(folder.lock.read_text())
    lock["packages"]["torch"] = "1.0"
    folder.lock.write_text(json.dumps(lock))
    with pytest.warns(UserWarning, match=r"other versions than the run was made with: packages\.torch: 1\.0, now"):
        run(manifest, folder.path, resume=True)


def test_a_damaged_line_of_metrics_blocks_neither_resume_nor_evaluation(
    text_manifest: Manifest, tmp_path: Path
) -> None:
    manifest = text_manifest()
    folder = run(manifest, tmp_path / "run")
    shutil.rmtree(folder.latest())
    content = bytearray(folder.metrics.read_bytes())
    content[5] = 0xFF
    folder.metrics.write_bytes(content)
    with pytest.warns(UserWarning, match="1 damaged lines"):
        run(manifest, folder.path, resume=True)
    with pytest.warns(UserWarning, match="1 damaged lines"):
        assert [line[0] for line in losses(folder)] == [2, 3, 4, 5, 6]


def test_a_run_in_bfloat16_goes_on_bit_for_bit(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest(phases=[ONE | {"precision": "bfloat16", "log_every": 4, "checkpoint_every": 3}])
    whole = run(manifest, tmp_path / "whole")
    part = run(manifest, tmp_path / "part")
    for checkpoint in part.steps()[1:]:
        shutil.rmtree(checkpoint)
    assert {tensor.dtype for tensor in weights(part).values()} == {torch.float32}
    assert_same_run(whole, run(manifest, part.path, resume=True))
