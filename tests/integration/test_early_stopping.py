"""Phases that end early, and the best checkpoint of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from modrwkv_core.cli.convert import convert
from modrwkv_core.cli.generate import generate
from modrwkv_core.errors import CheckpointError, ManifestError
from modrwkv_core.inference.loading import load
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

Manifest = Callable[..., Path]
TALKS = [{"source": "chat", "path": "talks.jsonl"}]
# No validation is better than the first one by so much.
NEVER_BETTER = {"patience": 2, "min_delta": 100.0}
ONE = {
    "name": "one",
    "train": ["backbone"],
    "lr": 1e-3,
    "steps": 20,
    "log_every": 1,
    "checkpoint_every": 1,
    "eval_every": 2,
    "early_stopping": NEVER_BETTER,
}
TWO = {"name": "two", "train": ["backbone"], "lr": 1e-3, "steps": 2}


@pytest.fixture
def manifest(tiny_manifest: Manifest) -> Path:
    return tiny_manifest(
        backbone={"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
        modalities={},
        heads={"lm": {"type": "lm"}},
        data={"train": TALKS, "valid": TALKS, "batch_size": 2},
        phases=[ONE, TWO],
    )


def run(manifest: Path, folder: Path, *overrides: str) -> RunFolder:
    train(load_manifest(manifest, overrides), folder, resume=folder.exists(), device="cpu", progress_bar=False)
    return RunFolder(folder)


def steps(folder: RunFolder) -> list[int]:
    return [int(path.name[5:]) for path in folder.steps()]


def logged(folder: RunFolder) -> list[tuple[Any, ...]]:
    return [
        tuple(line.get(key) for key in ("step", "phase", "loss", "valid_loss")) for line in read_metrics(folder.path)
    ]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return read_tensors(checkpoint / "backbone.safetensors")


def test_a_phase_ends_when_validations_no_longer_get_better(manifest: Path, tmp_path: Path) -> None:
    folder = run(manifest, tmp_path / "run")
    assert steps(folder) == [2, 5, 6, 8], "the best one, the newest ones within the phase, and the ends of phases"
    end = TrainState.read(folder.checkpoint(6))
    assert (end.phase, end.phase_step, end.phase_done, end.validated) == ("one", 6, True, True)
    assert end.best is not None
    assert (end.best.step, end.best.stale) == (2, 2)
    lines = read_metrics(folder.path)
    assert [(line["phase"], line["step"]) for line in lines if "valid_loss" in line] == [
        ("one", 2),
        ("one", 4),
        ("one", 6),
        ("two", 8),
    ]
    assert all(line["valid_loss"] == line["valid/lm"] for line in lines if "valid_loss" in line)
    before = logged(folder)
    assert logged(run(manifest, folder.path)) == before, "a complete run is left alone"


@pytest.mark.parametrize("newest", [2, 5, 6])
def test_a_run_that_is_resumed_anywhere_stops_in_the_same_place(manifest: Path, tmp_path: Path, newest: int) -> None:
    whole = run(manifest, tmp_path / "whole")
    part = tmp_path / "part"
    shutil.copytree(whole.path, part)
    for checkpoint in RunFolder(part).steps():
        if int(checkpoint.name[5:]) > newest:
            shutil.rmtree(checkpoint)
    resumed = run(manifest, part)
    assert logged(resumed) == logged(whole)
    assert steps(resumed)[-2:] == [6, 8]
    assert resumed.select("best").name == whole.select("best").name
    wanted, got = weights(whole.latest()), weights(resumed.latest())
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_more_patience_goes_on(manifest: Path, tmp_path: Path) -> None:
    folder = run(manifest, tmp_path / "run")
    shutil.rmtree(folder.checkpoint(8))
    run(manifest, folder.path, "phases.one.early_stopping.patience=4")
    assert [line[0] for line in logged(folder) if line[3] is not None] == [2, 4, 6, 6, 8, 10, 12]


def test_the_best_checkpoint_is_kept_and_can_be_chosen(manifest: Path, tmp_path: Path) -> None:
    folder = run(manifest, tmp_path / "run", "phases.two.steps=1", "phases.two.lr=10.0", "phases.two.eval_every=9")
    # The second phase ruins the model, but is the latest one with a validation.
    assert folder.select("last") == folder.select("best") == folder.checkpoint(7)
    assert folder.select("2") == folder.checkpoint(2)
    folder.update(folder.latest(), best=None)
    assert folder.select("best") == folder.checkpoint(2)
    for which, step in (("best", 2), ("5", 5), ("last", 7)):
        backbone = load(folder.path, checkpoint=which, device="cpu").model.backbone.state_dict()
        saved = weights(folder.checkpoint(step))
        assert all(torch.equal(backbone[name], tensor) for name, tensor in saved.items())


def test_the_commands_take_a_checkpoint(manifest: Path, tmp_path: Path) -> None:
    folder = run(manifest, tmp_path / "run")
    question = [str(folder.path), "Say yes 1 times.", "--max-tokens", "4", "--device", "cpu"]
    for which in ("best", "2", "last"):
        assert CliRunner().invoke(generate, [*question, "--checkpoint", which]).exit_code == 0
    assert isinstance(CliRunner().invoke(generate, [*question, "--checkpoint", "3"]).exception, CheckpointError)
    target = tmp_path / "backbone.safetensors"
    assert CliRunner().invoke(convert, [str(folder.path), str(target), "--checkpoint", "2"]).exit_code == 0
    written, saved = read_tensors(target), weights(folder.checkpoint(2))
    assert all(torch.equal(written[name], tensor) for name, tensor in saved.items())
    with pytest.raises(CheckpointError, match=r"no checkpoint '3'|step-00000003") as raised:
        folder.select("3")
    assert raised.value.hint is not None
    assert "best, last, and the steps 2, 5, 6, 8" in raised.value.hint
    with pytest.raises(CheckpointError, match="no checkpoint 'newest'"):
        folder.select("newest")


def test_a_run_without_validation_has_no_best(manifest: Path, tmp_path: Path) -> None:
    folder = run(manifest, tmp_path / "run", "data.valid=[]", "phases.one.early_stopping=null", "phases.one.steps=2")
    with pytest.raises(CheckpointError, match=r"holds no validation(.|\n)*data\.valid"):
        folder.select("best")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["phases.one.eval_every=null"], "give `eval_every`, too"),
        (["data.valid=[]"], "nothing to validate on"),
        (["phases.one.early_stopping.metric=valid/ml"], "no validation measures 'valid/ml'"),
        (["phases.one.early_stopping.patience=0"], "greater than or equal to 1"),
        (["phases.two.emerge_by=1"], "give `eval_every`, too"),
    ],
)
def test_a_phase_that_could_never_stop_so_is_refused(manifest: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        load_manifest(manifest, overrides)


def test_a_modality_that_has_not_emerged_in_time_is_named_while_training_goes_on(
    tiny_manifest: Manifest, tmp_path: Path
) -> None:
    windows = {"source": "csv_windows", "path": "waves.csv", "context_length": 24, "horizon": 6, "stride": 30}
    data = {"train": TALKS, "valid": [windows], "batch_size": 3}
    phase = ONE | {"train": ["adapter", "backbone"], "steps": 6, "early_stopping": None, "emerge_by": 3}
    with pytest.warns(UserWarning, match="does not use its series") as caught:
        run(tiny_manifest(data=data, phases=[phase]), tmp_path / "run")
    assert [str(each.message).split(" the model")[0] for each in caught] == [
        "after 4 steps of phase one",
        "after phase one",
    ]
    assert all("the training data of this phase show none of it" in str(each.message) for each in caught)
