"""The learning rate over a phase: linear warm-up, constant, and a decay at the end."""

from __future__ import annotations

import math

from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.training.config import WSDConfig

__all__ = ["WSDScheduler"]


class WSDScheduler(Scheduler[WSDConfig]):
    """The factor rises linearly to 1 over the warm-up, stays there, and falls towards ``min_lr_ratio`` at the end."""

    def factor(self, step: int) -> float:
        """Return the factor of the phase's ``lr`` for a step."""
        config = self.config
        warmup = config.warmup_of(self.steps)
        if step < warmup:
            return (step + 1) / warmup
        decay = min(round(config.decay * self.steps), self.steps - warmup)
        progress = max(0, step - (self.steps - decay)) / max(1, decay)
        fallen = math.sqrt(progress) if config.shape == "sqrt" else progress
        return 1.0 - (1.0 - config.min_lr_ratio) * fallen
