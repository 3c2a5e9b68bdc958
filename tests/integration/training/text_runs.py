"""Short runs of a small model of text alone, and what stops them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training import phase
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

Manifest = Callable[..., Path]
ONE = {"name": "one", "train": ["backbone"], "lr": 1e-3, "steps": 6, "checkpoint_every": 2, "log_every": 1}
TWO = ONE | {"name": "two", "steps": 2}


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
