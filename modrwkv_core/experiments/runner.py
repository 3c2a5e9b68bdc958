"""Runs a sweep: trial after trial, several processes at a time, and on from where it was killed.

::

    runs/<sweep>/
      sweep.json               what is tried, so that another sweep does not go on in the folder
      study.db                 the trials (optuna)
      trial-000/seed-0/        an ordinary run
      trial-000/seed-0.json    what it reached
      trial-000/seed-0.log     what it printed
      comparison.{md,json,csv} all trials, best first
      report.html              the same with plots
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.experiments.comparison import Comparison
from modrwkv_core.experiments.config import LoadedSweep
from modrwkv_core.experiments.job import Job, Outcome
from modrwkv_core.experiments.objective import find_objective, scores
from modrwkv_core.experiments.space import check_space, overrides
from modrwkv_core.experiments.study import Study, Trial
from modrwkv_core.manifest.load import digest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.files import write_json
from modrwkv_core.training.interrupts import Interrupts

__all__ = ["run_sweep"]

_SWEEP: Final = "sweep.json"
_POLL_SECONDS: Final = 0.1
_SIGNAL_CODES: Final = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""How ``modrwkv train`` ends after a signal."""


def run_sweep(
    loaded: LoadedSweep,
    folder: Path,
    *,
    arguments: Sequence[str] = (),
    devices: Sequence[str] = (),
    resume: bool,
    tell: Callable[[str], object],
) -> Comparison:
    """Run all trials that are not finished and compare them.

    A trial whose run fails is recorded with its error; the sweep goes on. On SIGTERM or Ctrl-C the runs save a
    checkpoint and end, and so they do when the sweep is killed.

    Args:
        loaded: The sweep.
        folder: Its folder.
        arguments: Overrides of the manifest that all trials share.
        devices: Where runs train, in turns; none: as ``modrwkv train`` chooses.
        resume: Go on with the sweep that the folder holds.
        tell: Called with a line about each finished trial.

    Raises:
        CheckpointError: The folder holds a sweep and ``resume`` is False, it holds another one, or another process
            sweeps in it.
        ManifestError: The manifest refuses a value, or has no such objective.
        TrainingInterruptedError: A signal came.
    """
    base = check_space(loaded, list(arguments))
    objective = find_objective(loaded.sweep, base, str(loaded.path))
    with _locked(folder), Interrupts() as interrupts:
        _claim(folder, loaded, digest(base.manifest), arguments, resume)
        study = Study(folder, loaded.sweep, objective)
        seeds = loaded.sweep.seeds or (base.manifest.seed,)
        comparison = Comparison(loaded.path.stem, objective, loaded.sweep, seeds)
        runner = _Runner(loaded, folder, study, comparison, list(arguments), bool(base.manifest.evaluation), tell)
        runner.run(list(devices), interrupts)
    return comparison


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointError(
                f"another process sweeps in {folder}", hint="wait until it has ended, or choose another --folder"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _claim(folder: Path, loaded: LoadedSweep, manifest: str, arguments: Sequence[str], resume: bool) -> None:
    """Write down what the folder's sweep is, or compare it with what is written there."""
    path = folder / _SWEEP
    # More trials, or more processes, are the same sweep.
    settings = loaded.sweep.model_dump(mode="json", exclude={"trials", "parallel", "manifest"})
    identity: dict[str, Any] = {"sweep": settings, "arguments": list(arguments), "manifest": manifest}
    if not path.exists():
        write_json(path, identity)
        return
    if not resume:
        raise CheckpointError(
            f"{folder} already holds a sweep",
            hint="go on with --resume, choose another folder with --folder, or remove this one",
        )
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key in identity if identity[key] != before.get(key)]
    if changed:
        raise CheckpointError(
            f"{folder} holds another sweep: {', '.join(changed)} changed since it began",
            hint="choose another folder with --folder; `trials` and `parallel` alone may change",
        )


class _Runner:
    """Runs the trials of a study and puts the finished ones into a comparison."""

    def __init__(
        self,
        loaded: LoadedSweep,
        folder: Path,
        study: Study,
        comparison: Comparison,
        arguments: list[str],
        evaluates: bool,
        tell: Callable[[str], object],
    ) -> None:
        self._loaded = loaded
        self._folder = folder
        self._study = study
        self._comparison = comparison
        self._arguments = arguments
        self._evaluates = evaluates
        self._tell = tell
        threads = max(1, (os.cpu_count() or 1) // loaded.sweep.parallel)
        self._environ = {"OMP_NUM_THREADS": str(threads), **os.environ}
        self._killed: dict[int, str] = {}

    def run(self, devices: Sequence[str], interrupts: Interrupts) -> None:
        """Run what is left."""
        parallel = self._loaded.sweep.parallel
        free = [devices[slot % len(devices)] if devices else None for slot in range(parallel)]
        pending = self._pending()
        running: dict[Job, tuple[Trial, str | None]] = {}
        try:
            while True:
                interrupts.check()
                while free and (item := next(pending, None)) is not None:
                    trial, seed = item
                    device = free.pop(0)
                    job = Job(self._trial_folder(trial), seed, self._commands(trial, seed, device))
                    while job.run.exists() and RunFolder(job.run).is_training():
                        interrupts.check()
                        time.sleep(_POLL_SECONDS)  # a run of a sweep that was killed saves its checkpoint
                    job.start(self._environ)
                    running[job] = trial, device
                if not running:
                    break
                for job in list(running):
                    if (code := job.poll()) is not None:
                        trial, device = running.pop(job)
                        free.append(device)
                        self._finish(job, code, trial)
                        self._settle(trial)
                time.sleep(_POLL_SECONDS)
        finally:
            for job in running:
                job.stop()
            for job in running:
                job.wait()
        for trial in self._study.trials():
            if not trial.is_finished:
                self._comparison.add(trial, self._outcomes(trial), self._killed[trial.number])

    def _pending(self) -> Iterator[tuple[Trial, int]]:
        """Yield the runs that are left: those of trials that had begun, and then new ones, drawn when they are due."""
        for trial in self._study.trials():
            yield from self._runs(trial)
        while (drawn := self._study.next()) is not None:
            yield from self._runs(drawn)

    def _runs(self, trial: Trial) -> Iterator[tuple[Trial, int]]:
        known = self._outcomes(trial)
        for seed in self._comparison.seeds:
            if seed not in known and not trial.is_finished:
                yield trial, seed
        if trial.is_finished or known.keys() == set(self._comparison.seeds):
            self._settle(trial)

    def _settle(self, trial: Trial) -> None:
        """Compare a trial whose runs have all ended, and let the study know."""
        outcomes = self._outcomes(trial)
        if outcomes.keys() != set(self._comparison.seeds):
            return
        row = self._comparison.add(trial, outcomes)
        if trial.is_finished:
            return
        if row.error is None:
            self._study.complete(trial.number, row.mean)
        else:
            self._study.fail(trial.number)
        self._tell(self._comparison.line(row))

    def _finish(self, job: Job, code: int, trial: Trial) -> None:
        """Keep what a run reached; one that was ended by a signal goes on when the sweep is resumed."""
        if code == 0:
            Outcome(scores(job.run), None).write(job.outcome)
        elif code < 0 or code in _SIGNAL_CODES:
            self._killed[trial.number] = f"seed {job.seed} was ended by a signal ({code}); --resume goes on with it"
            self._tell(f"trial {trial.number}: {self._killed[trial.number]}")
        else:
            Outcome({}, job.error(code)).write(job.outcome)

    def _outcomes(self, trial: Trial) -> dict[int, Outcome]:
        folder = self._trial_folder(trial)
        found = {seed: Outcome.read(folder / f"seed-{seed}.json") for seed in self._comparison.seeds}
        return {seed: outcome for seed, outcome in found.items() if outcome is not None}

    def _trial_folder(self, trial: Trial) -> Path:
        return self._folder / f"trial-{trial.number:03d}"

    def _commands(self, trial: Trial, seed: int, device: str | None) -> list[list[str]]:
        run = str(self._trial_folder(trial) / f"seed-{seed}")
        changes = [*self._arguments, f"seed={seed}", *overrides(trial.point)]
        place = [] if device is None else ["--device", device]
        train = ["train", str(self._loaded.manifest), *changes, "--run", run, "--resume", "--quiet", *place]
        return [train, ["evaluate", run, "--quiet", *place] if self._evaluates else ["report", run]]
