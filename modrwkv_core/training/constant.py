"""The learning rate over a phase: linear warm-up, then constant."""

from __future__ import annotations

from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.training.config import ConstantConfig

__all__ = ["ConstantScheduler"]


class ConstantScheduler(Scheduler[ConstantConfig]):
    """The factor rises linearly to 1 over the warm-up and stays there."""

    def factor(self, step: int) -> float:
        """Return the factor of the phase's ``lr`` for a step."""
        warmup = self.config.warmup_of(self.steps)
        return (step + 1) / warmup if step < warmup else 1.0
