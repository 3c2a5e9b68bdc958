"""What goes wrong during training costs as little as possible, and says what to do."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from modrwkv_core.data.loading import Loader
from modrwkv_core.data.order import EpochOrder
from modrwkv_core.errors import CheckpointError, DataError, ManifestError, ModRWKVError, WriteError
from modrwkv_core.inference.loading import load
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble, conversation_encoder, open_source
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training import phase
from modrwkv_core.training.interrupts import TrainingInterruptedError
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train
from modrwkv_core.training.metrics import StepMetrics

ONE = {"name": "one", "train": ["backbone"], "lr": 1e-3, "steps": 6, "checkpoint_every": 2, "log_every": 1}
TWO = ONE | {"name": "two", "steps": 2}
Manifest = Callable[..., Path]

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def write_text_manifest(write_manifest: Manifest) -> Manifest:
    """Write a manifest of a small model of text alone into a folder. Keyword arguments replace sections."""

    def write(folder: Path, **sections: Any) -> Path:
        data = {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 2}
        plain = {
            "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
            "modalities": {},
            "heads": {"lm": {"type": "lm"}},
            "phases": [ONE],
        }
        return write_manifest(folder, **(plain | sections | {"data": data | sections.get("data", {})}))

    return write


@pytest.fixture
def text_manifest(write_text_manifest: Manifest, tmp_path: Path) -> Manifest:
    """Write such a manifest into the test's own folder."""
    return partial(write_text_manifest, tmp_path / "project")


def run(manifest: Path, folder: Path, *overrides: str, resume: bool = False) -> RunFolder:
    train(load_manifest(manifest, overrides), folder, resume=resume, device="cpu", progress_bar=False)
    return RunFolder(folder)


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return read_tensors(folder.latest() / "backbone.safetensors")


def losses(folder: RunFolder) -> list[tuple[Any, ...]]:
    """What was logged, without times."""
    return [tuple(line.get(key) for key in ("step", "phase", "loss", "valid/lm")) for line in read_metrics(folder.path)]


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    assert losses(one) == losses(other)
    wanted, got = weights(one), weights(other)
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


@contextmanager
def stopped_at(monkeypatch: pytest.MonkeyPatch, step: int, stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` when ``step`` has been taken."""
    add = phase.MetricsAccumulator.add
    taken = 0

    def counting(self: Any, *arguments: Any) -> None:
        nonlocal taken
        add(self, *arguments)
        taken += 1
        if taken == step:
            stop()

    with monkeypatch.context() as patch:
        patch.setattr(phase.MetricsAccumulator, "add", counting)
        yield


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


@contextmanager
def program(manifest: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Train in a process of its own, which has logged metrics and ends with the block at the latest."""
    script = "from modrwkv_core.cli.main import main; main()"
    command = [sys.executable, "-c", script, "train", str(manifest), "--run", str(folder), "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            while not (folder / "metrics.jsonl").exists():
                assert process.poll() is None
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


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
