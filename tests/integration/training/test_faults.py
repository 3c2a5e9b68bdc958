"""What goes wrong during training costs as little as possible, and says what to do."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from text_runs import ONE, TWO, Manifest, assert_same_run, losses, program, run, stopped_at, weights

from modrwkv_core.data.loading import Loader
from modrwkv_core.data.order import EpochOrder
from modrwkv_core.errors import CheckpointError, DataError, ManifestError, ModRWKVError, WriteError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble, conversation_encoder, open_source
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.metrics import StepMetrics

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def break_line(manifest: Path, line: int) -> None:
    path = manifest.parent / "talks.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = '{"messages": 5}'
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"data": {"valid": [{"source": "chat", "path": "vlaid.jsonl"}]}}, DataError, "vlaid"),
        ({"phases": [ONE, TWO | {"data": [{"source": "chat", "path": "secnod.jsonl"}]}]}, DataError, "secnod"),
        ({"phases": [ONE, TWO | {"train": ["heads.lm"]}]}, ManifestError, "phase two trains heads.lm"),
        (
            {
                "phases": [
                    ONE,
                    {
                        **TWO,
                        "steps": None,
                        "epochs": 1,
                        "data": [{"source": "chat", "path": "talks.jsonl", "repeat": 0.01}],
                    },
                ]
            },
            ManifestError,
            "phase two has no steps",
        ),
    ],
)
def test_mistakes_of_later_phases_are_found_before_the_first_step(
    text_manifest: Manifest, tmp_path: Path, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(text_manifest(**sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("record", [0, 4], ids=["in the first batch", "in the third"])
@pytest.mark.filterwarnings("ignore:records of a source 'chat' of phase one have changed")
def test_a_broken_record_leaves_a_checkpoint_to_go_on_from(
    text_manifest: Manifest, tmp_path: Path, record: int
) -> None:
    manifest = text_manifest(phases=[ONE | {"checkpoint_every": None}])
    whole = run(manifest, tmp_path / "whole")
    intact = (manifest.parent / "talks.jsonl").read_text()
    order = EpochOrder([9], [1.0], seed=0, phase="one", epoch=0)
    ((_, line),) = order.records(np.array([record])).tolist()
    break_line(manifest, line)
    with pytest.raises(DataError, match=rf"talks\.jsonl:{line + 1}: .*(\n.*)*go on with --resume from .*step-0000000"):
        run(manifest, tmp_path / "run")
    (manifest.parent / "talks.jsonl").write_text(intact)
    folder = run(manifest, tmp_path / "run", resume=True)
    assert_same_run(whole, folder)


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_records_are_left_out_and_counted_on_request(
    text_manifest: Manifest, tmp_path: Path, workers: int
) -> None:
    manifest = text_manifest(data={"valid": [{"source": "chat", "path": "talks.jsonl"}], "workers": workers})
    break_line(manifest, 4)
    with pytest.warns(UserWarning, match=r"left out: .*talks\.jsonl:5"):
        folder = run(manifest, tmp_path / "run", "data.on_error=skip")
    *_, last, valid = read_metrics(folder.path)
    assert last["skipped_records"] == 1
    assert valid["valid/skipped_records"] == 1


def test_a_batch_of_broken_records_alone_is_a_step_that_learns_nothing(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest(data={"batch_size": 1})
    for line in range(9):
        break_line(manifest, line)
    with pytest.warns(UserWarning, match="left out"):
        folder = run(manifest, tmp_path / "run", "data.on_error=skip")
    assert TrainState.read(folder.latest()).skipped_records == 6


def test_a_killed_worker_is_an_error_that_saves(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = text_manifest(data={"workers": 1}, phases=[ONE | {"steps": 10**6, "checkpoint_every": None}])

    def kill_worker() -> None:
        for child in torch.multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with (
        stopped_at(monkeypatch, 3, kill_worker),
        pytest.raises(DataError, match=r"a loader worker was killed(.|\n)*fewer data\.workers(.|\n)*--resume"),
    ):
        run(manifest, tmp_path / "run")
    assert TrainState.read(RunFolder(tmp_path / "run").latest()).phase_step >= 3


def test_workers_die_with_the_process_that_trains(text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest(data={"workers": 2}, phases=[ONE | {"steps": 10**4, "checkpoint_every": None}])
    with program(manifest, tmp_path / "run") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
    while any(Path(f"/proc/{child}").exists() and not is_zombie(child) for child in children):
        time.sleep(0.01)  # the test's own time limit is the judge


def is_zombie(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_failing_hook_costs_no_checkpoint(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site"
    package.mkdir()
    (package / "failing_logger.py").write_text(
        "from modrwkv_core.plugin import hookimpl\n\n@hookimpl\ndef modrwkv_metrics(step):\n    raise OSError('down')\n"
    )
    information = package / "failing_logger-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: failing-logger\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[modrwkv]\nmain = failing_logger\n")
    monkeypatch.syspath_prepend(str(package))
    with pytest.warns(UserWarning, match=r"modrwkv_metrics of plugin failing-logger:main 1\.0 failed: OSError: down"):
        folder = run(text_manifest(), tmp_path / "run")
    assert TrainState.read(folder.latest()).validated
    assert len(read_metrics(folder.path)) == 6


def test_a_folder_removed_during_training_is_an_error_at_the_next_save(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    manifest = text_manifest(phases=[ONE | {"log_every": 100}])
    with (
        stopped_at(monkeypatch, 1, lambda: shutil.rmtree(folder)),
        pytest.raises(CheckpointError, match="was removed or emptied during training"),
    ):
        run(manifest, folder)
    assert not folder.exists()


def test_a_full_disk_while_metrics_are_logged_is_an_error(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = text_manifest(phases=[ONE | {"checkpoint_every": None}])
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if b'"step": 3' in content:
            raise OSError(28, "No space left on device")
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr("modrwkv_core.storage.files.os.write", full)
        with pytest.raises(WriteError, match=r"metrics\.jsonl: No space left"):
            run(manifest, tmp_path / "run")
    folder = run(manifest, tmp_path / "run", resume=True)
    assert [line[0] for line in losses(folder)][-1] == 6


def test_two_trainings_of_one_folder_refuse(text_manifest: Manifest, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(CheckpointError, match="another process is training"):
        run(text_manifest(), folder.path)


def test_denormals_are_flushed_during_training_only(text_manifest: Manifest, tmp_path: Path) -> None:
    run(text_manifest(phases=[TWO]), tmp_path / "run")
    assert float(torch.full((), 2e-38) * 0.1) != 0.0


def test_a_loss_that_is_found_not_finite_late_is_never_saved(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the host does not wait for each step."""
    monkeypatch.setattr(StepMetrics, "are_finite", lambda _: True)
    losses = MultimodalModel.losses
    calls = 0

    def broken(self: MultimodalModel, batch: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        return {name: loss * (torch.nan if calls == 3 else 1) for name, loss in losses(self, batch).items()}

    monkeypatch.setattr(MultimodalModel, "losses", broken)
    manifest = text_manifest(phases=[ONE | {"log_every": 100, "checkpoint_every": 4, "steps": 8}])
    with pytest.raises(ModRWKVError, match=r"not finite in step 3 \(conversations .*this and later steps are lost"):
        run(manifest, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").steps()
    kept = read_tensors(tmp_path / "run/not-finite-step-00000003.safetensors")
    loaded = load_manifest(manifest)
    sources = [open_source(loaded, source) for source in loaded.manifest.data.train]
    encoder = conversation_encoder(assemble(loaded, pretrained=False), None)
    loader = Loader(sources, encoder, batch_size=2, seed=0, phase="one")
    _, _, (third,) = itertools.islice(loader.batches_from(0), 3)
    assert third is not None
    assert torch.equal(kept["0/ids"], third.ids[0])
    manifest = text_manifest(phases=[ONE | {"log_every": 100, "checkpoint_every": 2, "steps": 8}])
    calls = 0
    with pytest.raises(ModRWKVError, match=r"not finite in step 3 (.|\n)*the newest checkpoint is .*step-00000002"):
        run(manifest, tmp_path / "other")
    assert all(tensor.isfinite().all() for tensor in weights(RunFolder(tmp_path / "other")).values())


def test_an_error_after_a_loss_that_is_not_finite_saves_nothing(
    text_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepMetrics, "are_finite", lambda _: True)
    monkeypatch.setattr(
        MultimodalModel, "losses", lambda self, _: {"lm": self.backbone.output_weight.sum() * torch.nan}
    )
    manifest = text_manifest(phases=[ONE | {"log_every": 100, "checkpoint_every": None}])

    def stop() -> None:
        raise DataError("enough")

    with stopped_at(monkeypatch, 2, stop), pytest.raises(DataError, match="enough") as raised:
        run(manifest, tmp_path / "run")
    assert any("not finite in step 1" in note for note in raised.value.__notes__)
    assert not RunFolder(tmp_path / "run").steps()


def test_log_lines_say_how_busy_training_was(tiny_manifest: Manifest, tmp_path: Path) -> None:
    folder = run(tiny_manifest(), tmp_path / "run")
    for line in (line for line in read_metrics(folder.path) if "loss" in line):
        assert line["tokens_per_second"] > line["samples_per_second"] > 0
        assert 0 <= line["data_wait"] <= 1
        assert 0 < line["peak_memory_gib"] < 1024
        assert "mfu" not in line, "the peak of a CPU is not known"
    assert any(line.get("padding") == 0 for line in read_metrics(folder.path)), "all series are of one length"
