"""Checkpoints of a phase, and what an error in its middle leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from modrwkv_core.errors import CheckpointError, ModRWKVError
from modrwkv_core.model.checkpoint import part_files
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.optimizer import PhaseOptimizer

__all__ = ["Checkpointer"]


class Checkpointer:
    """Writes the checkpoints of one phase.

    Args:
        context: The run.
        optimizer: The phase's.
        frozen_parts: Parts that the phase leaves alone.

    Attributes:
        saved: The run's newest checkpoint, which may be of the phase before; None before the first.
    """

    def __init__(self, context: RunContext, optimizer: PhaseOptimizer, frozen_parts: Collection[str]) -> None:
        self._context = context
        self._optimizer = optimizer
        self._frozen_parts = frozen_parts
        self.saved: Path | None = None

    def save(self, state: TrainState) -> None:
        """Write a checkpoint; all processes call this together, and the first writes.

        Raises:
            CheckpointError: The disk is full, or the run's folder was removed.
        """
        context = self._context
        world = context.world
        if not context.folder.manifest.is_file():
            raise CheckpointError(
                f"{context.folder.path} was removed or emptied during training",
                hint="nothing can be saved there; train again",
            )
        parts = {
            name: {file: world.whole(tensors) for file, tensors in files.items()}
            for name, files in part_files(context.model, context.methods).items()
        }
        optimizer = world.whole(self._optimizer.tensors())
        self.saved = context.folder.checkpoint(state.step)
        if not world.is_main:
            return
        context.folder.save(parts, state, optimizer, frozen_parts=self._frozen_parts)
        context.hook.modrwkv_checkpoint_saved(run=context.folder.path, checkpoint=self.saved, step=state.step)

    def save_before_stopping(self, error: Exception, state: Callable[[], TrainState]) -> None:
        """Save where the run stands, unless it is saved, and let ``error`` say where the run can go on.

        Args:
            error: What stops the run.
            state: Returns where the phase stands.
        """
        folder = self._context.folder
        is_saved = self.saved == folder.checkpoint(self._context.step)
        if not is_saved and not isinstance(error, CheckpointError):
            try:
                self.save(state())
            except ModRWKVError as second:
                error.add_note(f"the last steps could not be saved: {second}")
        steps = folder.steps()
        words = f"go on with --resume from {steps[-1]}" if steps else "there is no checkpoint to go on from"
        if isinstance(error, ModRWKVError):
            error.hint = words if error.hint is None else f"{error.hint}\n      {words}"
        else:
            error.add_note(words)
