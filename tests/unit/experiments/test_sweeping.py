"""The scheduling of a sweep, with a program that takes no time: resuming, failures, signals, seeds and devices."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modrwkv_core.errors import CheckpointError
from modrwkv_core.experiments import job, runner
from modrwkv_core.experiments.comparison import Comparison
from modrwkv_core.experiments.config import load_sweep
from modrwkv_core.experiments.runner import run_sweep

PROGRAM = """
import json, os, pathlib, signal, sys
command, *arguments = sys.argv[1:]
if command == "train":
    values = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    lr, seed = float(values["phases.align.lr"]), int(values["seed"])
    run = pathlib.Path(arguments[arguments.index("--run") + 1])
    run.mkdir(exist_ok=True)
    with (run / "calls").open("a") as file:
        file.write(json.dumps(arguments) + "\\n")
    if lr == 0.5:
        print("warning: hm")
        print("error: the learning rate is too high (phases.align)", "hint: lower it", sep="\\n")
        sys.exit(2)
    if lr == 0.25 and not (run / "killed").exists():
        (run / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if lr == 0.125:
        raise RuntimeError("a bug")
    line = {"step": 1, "phase": "align", "loss/lm": lr + seed}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\\n")
else:
    (pathlib.Path(arguments[0]) / "report.html").touch()
"""

Sweep = Callable[..., Comparison]


@pytest.fixture
def sweep(tiny_manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Run a sweep over learning rates in the folder ``out``."""
    tiny_manifest()
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setattr(job, "PROGRAM", (sys.executable, "-S", str(tmp_path / "program.py")))
    monkeypatch.setattr(runner, "_POLL_SECONDS", 0.01)

    def run(
        rates: Any = (0.001, 0.002), *, resume: bool = False, devices: tuple[str, ...] = (), **more: Any
    ) -> Comparison:
        path = tmp_path / "sweep.yaml"
        parameters = {"phases.align.lr": rates if isinstance(rates, dict) else list(rates)}
        content = {"manifest": "project/manifest.yaml", "parameters": parameters, "objective": "loss/lm", **more}
        path.write_text(yaml.safe_dump(content))
        return run_sweep(load_sweep(path), tmp_path / "out", devices=devices, resume=resume, tell=lambda line: None)

    return run


def calls(folder: Path) -> dict[str, list[list[str]]]:
    """Return the arguments of all trainings, by run."""
    found = sorted((folder / "out").glob("trial-*/seed-*/calls"))
    return {
        f"{path.parts[-3]}/{path.parts[-2]}": [json.loads(line) for line in path.read_text().splitlines()]
        for path in found
    }


def test_every_combination_runs_with_every_seed(sweep: Sweep, tmp_path: Path) -> None:
    comparison = sweep(seeds=[3, 5], parallel=3, devices=("cuda:0", "cuda:1"))
    assert [(row.number, row.point, row.objectives) for row in comparison.ranked] == [
        (0, {"phases.align.lr": 0.001}, {3: 3.001, 5: 5.001}),
        (1, {"phases.align.lr": 0.002}, {3: 3.002, 5: 5.002}),
    ]
    done = calls(tmp_path)
    assert list(done) == [f"trial-00{number}/seed-{seed}" for number in (0, 1) for seed in (3, 5)]
    assert {arguments[-1] for [arguments] in done.values()} == {"cuda:0", "cuda:1"}
    assert all("--resume" in arguments for [arguments] in done.values())


def test_a_failed_trial_keeps_its_error_and_does_not_stop_the_sweep(sweep: Sweep, tmp_path: Path) -> None:
    comparison = sweep((0.5, 0.001, 0.125), seeds=[0])
    assert [row.number for row in comparison.ranked] == [1, 0, 2]
    _, refused, crashed = comparison.ranked
    assert refused.error == "seed 0: the learning rate is too high (phases.align)\nhint: lower it"
    assert crashed.error is not None
    assert crashed.error.startswith("seed 0: ended with 1\n")
    assert crashed.error.endswith("RuntimeError: a bug")
    again = sweep((0.5, 0.001, 0.125), seeds=[0], resume=True)
    assert [(row.number, row.error) for row in again.ranked] == [(row.number, row.error) for row in comparison.ranked]
    assert all(len(trainings) == 1 for trainings in calls(tmp_path).values()), "nothing is trained again"


def test_a_killed_run_goes_on_when_the_sweep_is_resumed(sweep: Sweep, tmp_path: Path) -> None:
    first = sweep((0.25, 0.001), seeds=[0])
    assert [(row.number, row.error) for row in first.ranked] == [
        (1, None),
        (0, f"seed 0 was ended by a signal ({-signal.SIGKILL}); --resume goes on with it"),
    ]
    second = sweep((0.25, 0.001), seeds=[0], resume=True)
    assert [(row.number, row.mean) for row in second.ranked] == [(1, 0.001), (0, 0.25)]
    assert [len(trainings) for trainings in calls(tmp_path).values()] == [2, 1]


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_more_trials_go_on_with_others(sweep: Sweep, tmp_path: Path, method: str) -> None:
    rates = {"low": 1e-4, "high": 1e-2, "log": True}
    sweep(rates, method=method, trials=2, seeds=[0])
    comparison = sweep(rates, method=method, trials=4, seeds=[0], resume=True, parallel=2)
    drawn = [row.point["phases.align.lr"] for row in sorted(comparison.rows, key=lambda row: row.number)]
    assert len(set(drawn)) == 4
    assert all(1e-4 <= rate <= 1e-2 for rate in drawn)
    (tmp_path / "out").rename(tmp_path / "before")
    again = sweep(rates, method=method, trials=4, seeds=[0])
    assert [row.point["phases.align.lr"] for row in again.rows] == drawn, "the same seed draws the same"


def test_another_sweep_does_not_go_on_in_the_folder(sweep: Sweep) -> None:
    sweep()
    with pytest.raises(CheckpointError, match="already holds a sweep") as error:
        sweep()
    assert "--resume" in str(error.value.hint)
    with pytest.raises(CheckpointError, match="holds another sweep: sweep changed since it began"):
        sweep((0.001, 0.003), resume=True)


def test_one_process_sweeps_in_a_folder(sweep: Sweep, tmp_path: Path) -> None:
    from modrwkv_core.experiments.runner import _locked

    with _locked(tmp_path / "out"), pytest.raises(CheckpointError, match="another process sweeps in"):
        sweep()
