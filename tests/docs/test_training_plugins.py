"""The optimizer, scheduler, fine-tuning method and logger of the page work in a run, as the page says."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loggers import read_metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_trains_with_parts_of_their_own(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "training-plugins.md", tmp_path)
    folder = RunFolder(tmp_path / "runs/lion")
    first, second = folder.steps()
    lines = read_metrics(folder.path)
    with (folder.path / "losses.csv").open(newline="") as file:
        logged = [(int(step), name, float(value)) for step, name, value in csv.reader(file)]
    assert logged == [(line["step"], "loss/lm", line["loss/lm"]) for line in lines]
    assert float(lines[2]["loss"]) < 0.7 * float(lines[0]["loss"]), "it learns"
    assert [line["lr"] for line in lines[:3]] == [1e-3 * (1 - step / 30) for step in (9, 19, 29)]
    state = read_tensors(first / "optimizer.safetensors")
    assert {name.partition("/")[0] for name in state} == {"average"}
    before, after = (read_tensors(each / "backbone.safetensors") for each in (first, second))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(before[name].squeeze().ndim < 2 for name in changed), "the second phase trains vectors alone"
