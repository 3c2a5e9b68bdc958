"""The learning rate over a phase: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.training.config import CosineConfig

__all__ = ["CosineScheduler"]


class CosineScheduler(Scheduler[CosineConfig]):
    """The factor rises linearly to 1 over the warm-up and then falls along half a cosine."""

    def factor(self, step: int) -> float:
        """Return the factor of the phase's ``lr`` for a step."""
        config = self.config
        warmup = config.warmup_of(self.steps)
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
        return config.min_lr_ratio + (1.0 - config.min_lr_ratio) * cosine
