"""A run's folder: manifest, lock, metrics, and checkpoints that appear whole or not at all.

::

    runs/<name>/
      manifest.yaml           the resolved manifest
      lock.json               distributions, versions, kernel backend, seeds
      metrics.jsonl           one line of metrics for each logged step
      metrics.csv             the same as a table
      skipped.jsonl           broken records that were left out, if any
      checkpoints/step-00000120/
        <part>.safetensors    the weights of each part
        <part>.frozen.safetensors  those that its fine-tuning method never changes
        optimizer.safetensors the optimizer's state
        train_state.json      phase, step, random state, hashes: where to go on
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError, WriteError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.manifest.load import LoadedManifest, load_manifest
from modrwkv_core.manifest.lock import read_lock
from modrwkv_core.model.checkpoint import OPTIMIZER, PartFiles, check_hash, check_names, load_parts, save_parts
from modrwkv_core.model.finetuning import merge_parts, methods_of_parts, prepare_parts
from modrwkv_core.model.train_state import TRAIN_STATE, BestCheckpoint, TrainState
from modrwkv_core.storage.files import sha256, sync, temporary_name, write_text
from modrwkv_core.storage.tensors import check_finite, read_tensors, write_tensors

__all__ = ["KEEP", "RunFolder", "load_checkpoint", "load_run_manifest"]

KEEP = 2
"""Checkpoints that a run keeps besides those at the ends of phases and the best ones."""

_LOCK_PATIENCE: Final = 5.0
"""Seconds to wait for the lock: the loader workers of a killed training hold it until they die, too."""


def load_checkpoint(
    loaded: LoadedManifest, parts: Mapping[str, nn.Module], checkpoint: Path, *, merge: bool = False
) -> dict[str, FinetuningMethod[Any]]:
    """Fill parts of a model that were built from ``loaded`` with the weights of a checkpoint.

    Args:
        loaded: The run's manifest.
        parts: All parts of the model, or those that are needed.
        checkpoint: Its folder.
        merge: Whether the parts get the layers back that fine-tuning methods replaced: to answer, not to train on.

    Returns:
        The fine-tuning methods of the parts that have learned.

    Raises:
        CheckpointError: A file is missing, damaged, changed, or of another manifest.
    """
    state = TrainState.read(checkpoint)
    check_names(loaded.manifest.parts, checkpoint)
    components = {name: part for name, part in parts.items() if isinstance(part, Component)}
    applied = [(name, method) for name, method in methods_of_parts(loaded, state) if name in components]
    methods = prepare_parts(components, applied)
    load_parts(components, checkpoint, methods, state.files)
    if merge:
        merge_parts(components, applied)
    return methods


def load_run_manifest(folder: RunFolder) -> LoadedManifest:
    """Load the manifest of a run, with the plugins that its lock names."""
    # Variables that override a manifest are meant for the one that trains, not for what has been trained.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MODRWKV__")}
    return load_manifest(folder.manifest, environ=environ, locked=read_lock(folder.lock).providers)


class RunFolder:
    """The files of one run.

    Args:
        path: The folder; made when it is locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.yaml"
        self.lock = path / "lock.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint after ``step`` optimizer steps, which need not exist."""
        return self.checkpoints / f"step-{step:08d}"

    def steps(self) -> list[Path]:
        """Return the folders of the complete checkpoints, oldest first."""
        return sorted(path for path in self.checkpoints.glob("step-*") if (path / TRAIN_STATE).is_file())

    def latest(self) -> Path:
        """Return the newest complete checkpoint's folder.

        Raises:
            CheckpointError: The run has none.
        """
        steps = self.steps()
        if not steps:
            raise CheckpointError(
                f"{self.path} holds no checkpoint", hint="train it first: modrwkv train MANIFEST --run FOLDER"
            )
        return steps[-1]

    def select(self, which: str) -> Path:
        """Return the folder of one of the complete checkpoints.

        Args:
            which: ``last``, ``best`` (the best validation of the latest phase that was validated), or a step.

        Raises:
            CheckpointError: There is none.
        """
        if which == "last":
            return self.latest()
        if which == "best":
            chosen = next((self.checkpoint(best.step) for best in map(_best, reversed(self.steps())) if best), None)
            missing, hint = "no validation", "train it with held-out data in `data.valid`"
        else:
            chosen = self.checkpoint(int(which)) if which.isdecimal() else None
            missing = f"no checkpoint {which!r}"
            hint = f"it holds best, last, and the steps {', '.join(str(int(path.name[5:])) for path in self.steps())}"
        if chosen is None or chosen not in self.steps():
            raise CheckpointError(f"{self.path} holds {missing if chosen is None else f'no {chosen}'}", hint=hint)
        return chosen

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder, which is made if it is missing. The system frees a dead one's lock.

        Raises:
            CheckpointError: Another process trains in the folder.
            WriteError: The folder cannot be made.
        """
        is_new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise WriteError(
                f"{self.path} cannot be made: {error.strerror}", hint="choose another folder with --run"
            ) from error
        try:
            self._flock(descriptor)
            yield
        finally:
            os.close(descriptor)
            if is_new:
                with suppress(OSError):  # it holds something now
                    self.path.rmdir()

    def is_training(self) -> bool:
        """Whether a process trains in the folder at this moment."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _flock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise CheckpointError(
                        f"another process is training in {self.path}",
                        hint="wait until it has ended, or choose another folder with --run",
                    ) from error
                time.sleep(0.1)
            else:
                return

    def optimizer_state(self, checkpoint: Path) -> dict[str, Tensor]:
        """Read the optimizer's tensors of a checkpoint.

        Raises:
            CheckpointError: The file is missing, damaged or changed, or holds NaN or infinity.
        """
        path = checkpoint / OPTIMIZER
        check_hash(path, TrainState.read(checkpoint).files)
        tensors = read_tensors(path)
        check_finite(tensors, path)
        return tensors

    def save(
        self,
        parts: PartFiles,
        state: TrainState,
        optimizer: Mapping[str, Tensor],
        *,
        frozen_parts: Collection[str],
    ) -> Path:
        """Write a checkpoint and return its folder; the earlier ones stay as they are until it is complete.

        Args:
            parts: What to save, see :func:`~modrwkv_core.model.checkpoint.part_files`.
            state: Where the run stands; the hashes are filled in.
            optimizer: The optimizer's tensors by name.
            frozen_parts: Parts that no step has changed since the previous checkpoint.

        Raises:
            CheckpointError: The disk is full or refuses, or the run's folder was removed; nothing of the
                attempt remains.
        """
        final = self.checkpoint(state.step)
        partial = self.checkpoints / temporary_name()
        steps = self.steps()
        try:
            # Not its parents: a run's folder that was removed in the meantime must not come back without its manifest.
            self.checkpoints.mkdir(exist_ok=True)
            self._clear()
            partial.mkdir()
            previous = steps[-1] if steps else None
            linked = save_parts(parts, partial, frozen_parts=frozen_parts, previous=previous)
            write_tensors(optimizer, partial / OPTIMIZER)
            known = TrainState.read(previous).files if previous is not None and linked else {}
            hashes = {
                path.name: known[path.name] if path.name in linked else sha256(path)
                for path in sorted(partial.iterdir())
            }
            self._write_state(partial, state.model_copy(update={"files": hashes}))
            sync(partial)
            if final.exists():
                self._remove(final)
            partial.rename(final)
            sync(self.checkpoints)
        except Exception as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(
                f"checkpoint {final} could not be written: {error}",
                hint="free space on the disk and go on with --resume; earlier checkpoints are intact",
            ) from error
        self._prune()
        return final

    def update(self, checkpoint: Path, **changes: Any) -> None:
        """Change fields of a checkpoint's state.

        Raises:
            CheckpointError: It cannot be read.
            WriteError: It cannot be written.
        """
        self._write_state(checkpoint, TrainState.read(checkpoint).model_copy(update=changes))

    @staticmethod
    def _write_state(checkpoint: Path, state: TrainState) -> None:
        write_text(checkpoint / TRAIN_STATE, state.model_dump_json(indent=2) + "\n")

    def _prune(self) -> None:
        """Remove checkpoints within phases but for the newest and the best; leave alone what cannot be read."""
        passing, best = [], {}
        for path in self.steps():
            with suppress(CheckpointError):
                state = TrainState.read(path)
                if not state.phase_done:
                    passing.append(path)
                if state.best is not None:
                    best[state.phase] = self.checkpoint(state.best.step)  # a later one knows better
        for path in passing[:-KEEP]:
            if path not in best.values():
                self._remove(path)

    def _remove(self, checkpoint: Path) -> None:
        """Remove a checkpoint; a kill in the middle leaves a folder that no longer counts as one."""
        removed = checkpoint.with_name(temporary_name())
        checkpoint.rename(removed)
        shutil.rmtree(removed)

    def _clear(self) -> None:
        """Remove what killed trainings left behind."""
        for left_over in self.checkpoints.glob(".*.partial"):
            shutil.rmtree(left_over)


def _best(checkpoint: Path) -> BestCheckpoint | None:
    return TrainState.read(checkpoint).best
