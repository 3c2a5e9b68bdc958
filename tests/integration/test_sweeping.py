"""A sweep with the real program, killed and resumed, and the sweeps of the examples."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from modrwkv_core.experiments.config import load_sweep
from modrwkv_core.experiments.objective import find_objective
from modrwkv_core.experiments.space import check_space, grid, overrides
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.manifest.wiring import check_wiring
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

ROOT = Path(__file__).resolve().parents[2]
PHASE = {"name": "align", "train": ["backbone"], "lr": 1e-3, "steps": 60, "log_every": 1, "checkpoint_every": 4}
DATA = {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 9}
TALKS = {"task": {"type": "exact_match", "max_tokens": 2}, "data": {"source": "chat", "path": "talks.jsonl"}}


def sweep(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "modrwkv_core", "sweep", "sweep.yaml", "--folder", "out", "--device", "cpu"]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *options], cwd=folder, env=environ, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_a_killed_sweep_goes_on_bit_by_bit(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    manifest = tiny_manifest(
        modalities={}, heads={"lm": {"type": "lm"}}, data=DATA, phases=[PHASE], evaluation={"talks": TALKS}
    )
    content = {
        "manifest": "project/manifest.yaml",
        "parameters": {"phases.align.lr": [1e-3, 1e30]},
        "objective": "talks/exact_match",
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    run = tmp_path / "out/trial-000/seed-0"
    killed = sweep(tmp_path)
    while not (run / "checkpoints/step-00000004").exists():
        assert killed.poll() is None, "the sweep ended by itself"
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    loaded = load_manifest(manifest, ["seed=0"])
    # At once: the run that the killed sweep had begun may still be saving its checkpoint.
    resumed = sweep(tmp_path, "--resume")
    printed, _ = resumed.communicate()
    assert resumed.returncode == 0
    train(loaded, tmp_path / "undisturbed", resume=False, device="cpu", progress_bar=False)
    losses = [[line.get("loss") for line in read_metrics(path)] for path in (run, tmp_path / "undisturbed")]
    assert losses[0] == losses[1]

    found = json.loads((tmp_path / "out/comparison.json").read_text())
    good, bad = found["trials"]
    assert good["parameters"] == {"phases.align.lr": 1e-3}
    assert (
        good["mean"]
        == json.loads((run / "results.json").read_text())["tasks"]["talks"]["metrics"]["exact_match"]["score"]
    )
    assert "loss or gradient is not finite" in bad["error"]
    assert b"| 1     | 1e+30" in printed
    page = (tmp_path / "out/report.html").read_text()
    assert 'href="trial-000/seed-0/report.html"' in page
    assert "loss or gradient is not finite" in page


@pytest.mark.parametrize(
    "name",
    [
        "compressor",
        "adapter",
        "encoder",
        "convergence",
        "long_context",
        "grid_compressor",
        "reading_order",
        "adapter_kind",
        "compressor_vqa",
        "encoder_vqa",
        "architecture",
        "adapter_vqa",
    ],
)
def test_every_combination_of_the_examples_fits_together(name: str) -> None:
    loaded = load_sweep(ROOT / f"examples/experiments/{name}.yaml")
    base = check_space(loaded, [])
    find_objective(loaded.sweep, base, name)
    points = grid(loaded.sweep.parameters)
    assert len(points) >= 2
    for point in points:
        check_wiring(load_manifest(loaded.manifest, overrides(point)))


@pytest.mark.parametrize(
    "name",
    [
        "easy_vqa",
        "photos",
        "trimodal",
        "etth1",
        "etth2",
        "ettm1",
        "exchange_rate",
        "ili",
        "zero_shot_etth1",
        "zero_shot_etth2",
    ],
)
def test_every_combination_of_the_results_fits_together(name: str) -> None:
    loaded = load_sweep(ROOT / f"examples/results/sweeps/{name}.yaml")
    find_objective(loaded.sweep, check_space(loaded, []), name)
    for point in grid(loaded.sweep.parameters):
        check_wiring(load_manifest(loaded.manifest, overrides(point)))
