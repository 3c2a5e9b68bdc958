"""What both harnesses do alike to load a run."""

from __future__ import annotations

import os

import modrwkv_core
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.session import Session

__all__ = ["engine_settings", "load_session"]


def load_session(
    run: str, *, checkpoint: str | int, device: str | None, weights: str, state: str | None, batch_size: int | str
) -> tuple[Session, int]:
    """Load a run and check the batch size.

    Args:
        run: The run's folder.
        checkpoint: ``last``, ``best`` or a step.
        device: Where to compute; None takes a GPU if there is one.
        weights: How the backbone's weights are stored, as :func:`modrwkv_core.load` takes it.
        state: File of the state that every text begins with; None takes the run's own.
        batch_size: Texts that are read or answered together.

    Returns:
        The session, and the batch size as a number.

    Raises:
        ModRWKVError: The run cannot be loaded, the batch size is no number, or the harness was started on several
            processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ModRWKVError(
            f"the harness runs as {os.environ['WORLD_SIZE']} processes, and this model evaluates in one",
            hint="start it without accelerate or torchrun; batch_size fills a device",
        )
    if not str(batch_size).isdecimal() or int(batch_size) < 1:
        raise ModRWKVError(f"batch_size is {batch_size!r}", hint="give a number, such as --batch_size 16")
    session = modrwkv_core.load(run, checkpoint=str(checkpoint), device=device, weights=weights, state=state)
    return session, int(batch_size)


def engine_settings(batch_size: int) -> EngineSettings:
    """Return the settings of an engine that answers ``batch_size`` requests together, and prepares as many more."""
    return EngineSettings(slots=batch_size, queue=2 * batch_size)
