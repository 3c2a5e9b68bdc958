"""Token budgets and broken records in whole runs: the same after a kill, and named in the run's report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.run_report import write_run_report
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train
from modrwkv_core.training.record_lengths import RecordLengths
from modrwkv_core.training.skipped import SkippedLine, read_skipped

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:left out"),
]

Manifest = Callable[..., Path]
PHASE = {"name": "one", "train": ["backbone"], "lr": 1e-3, "checkpoint_every": 2, "log_every": 1}
TALKS = [{"source": "chat", "path": "talks.jsonl"}]


@pytest.fixture
def manifest(tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Write a manifest of text alone, nine conversations of 36 to 46 tokens; keywords replace keys of ``data``."""
    monkeypatch.setenv("MODRWKV_CACHE", str(tmp_path / "cache"))

    def write(epochs: int = 2, **data: Any) -> Path:
        return tiny_manifest(
            backbone={"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
            modalities={},
            heads={"lm": {"type": "lm"}},
            data={"train": TALKS, **data},
            phases=[PHASE | {"epochs": epochs}],
        )

    return write


def run(manifest: Path, folder: Path, *overrides: str, resume: bool = False) -> RunFolder:
    train(load_manifest(manifest, overrides), folder, resume=resume, device="cpu", progress_bar=False)
    return RunFolder(folder)


def break_lines(manifest: Path, *lines: int) -> None:
    path = manifest.parent / "talks.jsonl"
    content = path.read_text().splitlines()
    for line in lines:
        content[line] = '{"messages": 5}'
    path.write_text("\n".join(content) + "\n")


def losses(folder: RunFolder) -> list[tuple[Any, ...]]:
    names = ("step", "loss", "skipped_records")
    return [tuple(line.get(name) for name in names) for line in read_metrics(folder.path)]


def test_a_budget_of_tokens_resumes_and_micro_batches_change_nothing(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest(max_tokens_per_batch=160)
    whole = run(path, tmp_path / "whole")
    assert len(losses(whole)) == TrainState.read(whole.latest()).step > 4
    shutil.copytree(whole.path, tmp_path / "resumed")
    for step in RunFolder(tmp_path / "resumed").steps()[-1:]:
        shutil.rmtree(step)
    resumed = run(path, tmp_path / "resumed", "data.workers=1", resume=True)
    assert losses(resumed) == losses(whole)
    name = "backbone.safetensors"
    ours, theirs = read_tensors(resumed.latest() / name), read_tensors(whole.latest() / name)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    parts = run(path, tmp_path / "parts", "parallel.max_tokens_per_micro_batch=60")
    assert [loss for _, loss, _ in losses(parts)] == pytest.approx([loss for _, loss, _ in losses(whole)], rel=1e-4)


def test_lengths_are_measured_once(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(max_tokens_per_batch=160)
    run(path, tmp_path / "one", "phases.one.epochs=1")
    (kept,) = (tmp_path / "cache" / "lengths").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("modrwkv_core.training.record_lengths.measure_lengths", None)
        run(path, tmp_path / "two", "phases.one.epochs=1", "data.max_tokens_per_batch=170")
        with pytest.raises(TypeError):  # other words have other lengths
            run(path, tmp_path / "three", "tokenizer={type: world}")
    kept.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"\.npy is damaged and measured again"):
        run(path, tmp_path / "four", "phases.one.epochs=1")


def test_a_record_longer_than_the_budget_is_named_before_training_or_left_out(
    manifest: Manifest, tmp_path: Path
) -> None:
    path = manifest(max_tokens_per_batch=42)
    with pytest.raises(
        DataError, match=r"talks\.jsonl:\d: the conversation has 4\d tokens, more than the 42 .* others"
    ):
        run(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    folder = run(path, tmp_path / "run", "data.on_error=skip", "phases.one.epochs=1")
    reasons = [line.reason for line in read_skipped(folder.path)]
    assert reasons
    assert all("tokens, more than the 42 allowed" in reason for reason in reasons)


def test_a_repaired_record_is_measured_again(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest(max_tokens_per_batch=160)
    intact = (path.parent / "talks.jsonl").read_text()
    break_lines(path, 4)
    with pytest.raises(DataError, match=r"talks\.jsonl:5"):
        run(path, tmp_path / "run")
    folder = run(path, tmp_path / "skipping", "data.on_error=skip", "phases.one.epochs=1")
    assert TrainState.read(folder.latest()).skipped_records == 1
    (path.parent / "talks.jsonl").write_text(intact)
    assert TrainState.read(run(path, tmp_path / "run").latest()).skipped_records == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_records_are_counted_and_named(manifest: Manifest, tmp_path: Path, workers: int) -> None:
    path = manifest(batch_size=2, valid=TALKS, workers=workers, on_error="skip")
    break_lines(path, 4, 7)
    folder = run(path, tmp_path / "run")
    state = TrainState.read(folder.latest())
    assert (state.read_records, state.skipped_records) == (18, 4)
    lines = read_skipped(folder.path)
    assert {line.record for line in lines if line.phase == "one"} == {4, 7}
    assert {line.record for line in lines if line.phase == "one, validation"} == {4, 7}
    assert len(lines) == 4
    assert all(f"talks.jsonl:{line.record + 1}" in line.reason for line in lines)
    page = write_run_report(folder.path).read_text()
    assert "talks.jsonl:5: has no list &#39;messages&#39;" in page


def test_resuming_counts_and_names_each_record_once(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest(batch_size=2, on_error="skip")
    break_lines(path, 4, 7)
    whole = run(path, tmp_path / "whole")
    shutil.copytree(whole.path, tmp_path / "resumed")
    for step in RunFolder(tmp_path / "resumed").steps()[1:]:
        shutil.rmtree(step)
    resumed = run(path, tmp_path / "resumed", resume=True)
    assert losses(resumed) == losses(whole)
    assert read_skipped(resumed.path) == read_skipped(whole.path)
    assert TrainState.read(resumed.latest()).skipped_records == 4


def test_too_many_broken_records_are_an_error(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest(batch_size=2, on_error="skip")
    break_lines(path, 1, 4, 7)
    with pytest.raises(DataError, match=r"2 of \d+ records of phase one are broken(.|\n)*skipped\.jsonl"):
        run(path, tmp_path / "run", "data.max_error_share=0.001")
    assert len(read_skipped(tmp_path / "run")) == 2
    resumed = run(path, tmp_path / "run", "data.max_error_share=0.01", resume=True)
    assert TrainState.read(resumed.latest()).skipped_records == 6
    assert {line.record for line in read_skipped(resumed.path)} == {1, 4, 7}


def test_few_records_are_named_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modrwkv_core.data.loading import SkippedRecord
    from modrwkv_core.training import skipped

    monkeypatch.setattr(skipped, "MAX_NAMED", 3)
    for step in (1, 2):
        skipped.append_skipped(tmp_path, step, "a", [SkippedRecord("chat", n, f"line {n}") for n in range(5)])
    assert [line.record for line in read_skipped(tmp_path)] == [0, 1, 2]
    skipped.append_skipped(tmp_path, 3, "b", [SkippedRecord("chat", 0, "no room")])
    skipped.drop_skipped_after(tmp_path, 0)
    assert read_skipped(tmp_path) == []
    skipped.append_skipped(tmp_path, 4, "b", [SkippedRecord("chat", 0, "room")])
    assert read_skipped(tmp_path) == [SkippedLine(step=4, phase="b", source="chat", record=0, reason="room")]


def test_lengths_that_cannot_be_kept_are_only_warned_of(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MODRWKV_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="the next run has to measure lengths again"):
        run(manifest(max_tokens_per_batch=160), tmp_path / "run", "phases.one.epochs=1")
    assert RecordLengths._read(tmp_path / "missing.npy", 3) is None
