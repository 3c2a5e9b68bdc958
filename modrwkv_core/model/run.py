"""A run's folder: manifest, lock, metrics, and checkpoints that appear whole or not at all.

::

    runs/<name>/
      manifest.yaml           the resolved manifest
      lock.json               distributions, versions, kernel backend, seeds
      metrics.jsonl           one line of metrics for each logged step
      checkpoints/step-00000120/
        <part>.safetensors    the weights of each part
        optimizer.safetensors the optimizer's moments
        train_state.json         phase, epoch, batch, random state: where to go on
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.files import sync, write_json
from modrwkv_core.model.checkpoint import save_parts
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.tensors import write_tensors

__all__ = ["KEEP", "RunFolder", "TrainState"]

KEEP = 2
"""Checkpoints that a run keeps besides those at the ends of phases."""


@dataclass(frozen=True, slots=True)
class TrainState:
    """Where a run stands.

    Attributes:
        step: Optimizer steps taken since the run's beginning.
        phase: Name of the phase.
        phase_step: Optimizer steps taken in the phase.
        epoch: Epoch of the phase, from 0.
        batch: Batches of the epoch already used.
        phase_done: Whether the phase is complete.
        rng_state: State of torch's CPU generator, as hexadecimal bytes.
        manifest: Digest of the manifest.
    """

    step: int
    phase: str
    phase_step: int
    epoch: int
    batch: int
    phase_done: bool
    rng_state: str
    manifest: str


class RunFolder:
    """The files of one run.

    Args:
        path: The folder; made on the first write.
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
        return sorted(path for path in self.checkpoints.glob("step-*") if path.is_dir())

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

    @staticmethod
    def train_state(checkpoint: Path) -> TrainState:
        """Read where a checkpoint stands.

        Raises:
            CheckpointError: The file is missing or damaged.
        """
        path = checkpoint / "train_state.json"
        try:
            return TrainState(**json.loads(path.read_text()))
        except (OSError, json.JSONDecodeError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}", hint="use an older checkpoint") from error

    def save(
        self,
        model: MultimodalModel,
        state: TrainState,
        optimizer: dict[str, Tensor],
        *,
        frozen_parts: Collection[str],
    ) -> Path:
        """Write a checkpoint and return its folder; the earlier ones stay as they are until it is complete.

        Args:
            model: The weights.
            state: Where the run stands.
            optimizer: The optimizer's tensors by name.
            frozen_parts: Parts that no step has changed since the previous checkpoint.

        Raises:
            CheckpointError: The disk is full or refuses; nothing of the attempt remains.
        """
        final = self.checkpoint(state.step)
        partial = self.checkpoints / f".partial-{state.step:08d}"
        steps = self.steps()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            for left_over in self.checkpoints.glob(".partial-*"):
                shutil.rmtree(left_over)
            partial.mkdir()
            save_parts(model, partial, frozen_parts=frozen_parts, previous=steps[-1] if steps else None)
            write_tensors(optimizer, partial / "optimizer.safetensors")
            write_json(partial / "train_state.json", asdict(state))
            sync(partial)
            if final.exists():
                shutil.rmtree(final)
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

    def _prune(self) -> None:
        passing = [path for path in self.steps() if not self.train_state(path).phase_done]
        for path in passing[:-KEEP]:
            shutil.rmtree(path)
