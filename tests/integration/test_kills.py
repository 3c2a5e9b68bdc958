"""Runs that are killed, or meet a full disk, at any moment: each resume ends as the uninterrupted run does.

``MODRWKV_TEST_KILLS`` sets the number of kills of each kind of run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.errors import CheckpointError, ModRWKVError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training import world
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

KILLS = int(os.environ.get("MODRWKV_TEST_KILLS", "3"))
PATIENCE = 300.0
TALKS = [{"source": "chat", "path": "talks.jsonl"}]
WINDOWS = [{"source": "csv_windows", "path": "waves.csv", "context_length": 24, "horizon": 6, "stride": 40}]
PHASE = {"train": ["adapter", "backbone", "heads"], "lr": 1e-3, "checkpoint_every": 2, "log_every": 3, "eval_every": 4}
PHASES = [PHASE | {"name": "one", "steps": 12}, PHASE | {"name": "two", "steps": 6, "ema": 0.9}]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the model does not use its series:UserWarning"),
    # A kill may cut the last line, which the resume takes again.
    pytest.mark.filterwarnings("ignore:.*damaged lines are left out:UserWarning"),
]


def _work(rank: int, size: int, port: int, manifest: Path, folder: Path, overrides: tuple[str, ...]) -> None:
    if size > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    torch.set_num_threads(1)
    world.TIMEOUT = timedelta(seconds=120)
    try:
        train(load_manifest(manifest, overrides), folder, resume=True, device="cpu", progress_bar=False)
    except ModRWKVError:
        sys.exit(1)  # the other process was killed


def start(size: int, *arguments: Any) -> list[Any]:
    """Start the processes of a training; they import nothing, so that many kills take little time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["modrwkv_core.training.loop", "modrwkv_core.manifest.wiring"])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    processes = [context.Process(target=_work, args=(rank, size, port, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    return processes


def finish(processes: list[Any]) -> list[int]:
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode is not None, "a process hangs"
    return [process.exitcode for process in processes]


@dataclass(frozen=True)
class Before:
    """What a run's folder held when its processes were started."""

    size: int
    partial: frozenset[Path]

    @classmethod
    def of(cls, folder: RunFolder) -> Before:
        size = folder.metrics.stat().st_size if folder.metrics.exists() else 0
        return cls(size, frozenset(folder.checkpoints.glob(".*.partial")))


def is_saving(folder: RunFolder, before: Before) -> bool:
    return bool(frozenset(folder.checkpoints.glob(".*.partial")) - before.partial)


def has_logged(folder: RunFolder, before: Before) -> bool:
    return folder.metrics.exists() and folder.metrics.stat().st_size > before.size


def has_changed_phase(folder: RunFolder, before: Before) -> bool:
    """Whether the last step of a phase has been taken, so that it is saved, validated, or followed by the next one."""
    if not has_logged(folder, before):
        return False
    new = folder.metrics.read_bytes()[before.size :]
    return any(end in new for end in (b'"step": 12,', b'"step": 18,'))


MOMENTS: list[tuple[Callable[[RunFolder, Before], bool], float]] = [
    (has_logged, 0.3),
    (is_saving, 0.01),
    (has_changed_phase, 0.05),
]


def kill(processes: list[Any], folder: RunFolder, number: int) -> None:
    """Kill a training, or one of its processes, at a moment that depends on ``number``."""
    draw = random.Random(number)
    has_come, delay = MOMENTS[number % len(MOMENTS)]
    before = Before.of(folder)
    while any(process.exitcode is None for process in processes) and not has_come(folder, before):
        time.sleep(0.0005)
    time.sleep(draw.uniform(0.0, delay))
    victims = processes if len(processes) == 1 or draw.random() < 0.5 else [draw.choice(processes)]
    for process in victims:
        process.kill()
    finish(processes)


def content(folder: RunFolder) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """What a run has logged, without times, and its weights."""
    kept = ("step", "phase", "loss", "gradient_norm", "update_norm", "feature_norm", "valid", "modality_gain", "lr")
    lines = [{k: v for k, v in line.items() if k.startswith(kept)} for line in read_metrics(folder.path)]
    parts = sorted(folder.latest().glob("*.safetensors"))
    return lines, {f"{part.name}/{name}": tensor for part in parts for name, tensor in read_tensors(part).items()}


def assert_same_run(one: RunFolder, other: RunFolder) -> None:
    (lines, weights), (other_lines, other_weights) = content(one), content(other)
    assert lines == other_lines
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(tensor, other_weights[name]) for name, tensor in weights.items())


@pytest.fixture
def manifest(tiny_manifest: Callable[..., Path]) -> Path:
    return tiny_manifest(data={"train": [*TALKS, *WINDOWS], "valid": WINDOWS, "batch_size": 4}, phases=PHASES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "overrides"),
    [
        pytest.param(1, (), id="alone"),
        pytest.param(1, ("data.workers=2",), id="workers"),
        pytest.param(2, ("data.workers=1",), id="processes"),
    ],
)
def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_happened(
    manifest: Path, tmp_path: Path, size: int, overrides: tuple[str, ...]
) -> None:
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    assert set(finish(start(size, manifest, whole.path, overrides))) == {0}
    for number in range(KILLS):
        kill(start(size, manifest, killed.path, overrides), killed, number)
        resumed = RunFolder(tmp_path / f"resumed-{number}")
        shutil.copytree(killed.path, resumed.path)
        assert set(finish(start(size, manifest, resumed.path, overrides))) == {0}
        assert_same_run(resumed, whole)
        shutil.rmtree(resumed.path)
        if number % len(MOMENTS) == len(MOMENTS) - 1:  # the end may have been reached
            shutil.rmtree(killed.path)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a disk of ``size`` bytes there, or skip the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_during_a_save_keeps_the_checkpoint_before(manifest: Path, tmp_path: Path) -> None:
    loaded = load_manifest(manifest)
    whole, disk = RunFolder(tmp_path / "whole"), tmp_path / "disk"
    train(loaded, whole.path, resume=False, device="cpu", progress_bar=False)
    checkpoint = sum(file.stat().st_size for file in whole.latest().iterdir())
    with small_disk(disk, 5 * checkpoint // 2):
        folder = RunFolder(disk / "run")
        with pytest.raises(
            CheckpointError, match=r"could not be written: .*No space left(.|\n)*earlier checkpoints are"
        ):
            train(loaded, folder.path, resume=False, device="cpu", progress_bar=False)
        assert folder.steps()
        assert not list(folder.checkpoints.glob(".*.partial")), "what the attempt took is free again"
        shutil.copytree(folder.path, tmp_path / "rescued")
    train(loaded, tmp_path / "rescued", resume=True, device="cpu", progress_bar=False)
    assert_same_run(RunFolder(tmp_path / "rescued"), whole)
