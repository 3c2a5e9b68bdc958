"""How the engines of a server are made: a value that can be sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.loading import load

__all__ = ["EngineSpec"]


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The engine of one model.

    Attributes:
        run: Folder of the model's run.
        checkpoint: Which of its checkpoints; see :func:`~modrwkv_core.inference.loading.load`.
        device: Where to compute; None takes a GPU if there is one.
        weights: How the backbone's weights are stored.
        settings: Sizes and limits.
    """

    run: Path
    checkpoint: str = "last"
    device: str | None = None
    weights: str = "auto"
    settings: EngineSettings = field(default_factory=EngineSettings)

    def start(self) -> Engine:
        """Load the model and start its engine.

        Raises:
            ModRWKVError: The run cannot be loaded.
        """
        session = load(self.run, checkpoint=self.checkpoint, device=self.device, weights=self.weights)
        return Engine(session, self.settings)
