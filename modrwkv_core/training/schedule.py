"""The learning rate over a phase: linear warm-up, then a cosine."""

from __future__ import annotations

import math

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, *, steps: int, warmup: int, final: float) -> float:
    """Return the factor of the phase's learning rate at ``step``.

    Args:
        step: Optimizer steps already taken in the phase.
        steps: Optimizer steps of the phase.
        warmup: Steps over which the factor rises linearly to 1; at most the phase is used.
        final: Factor at the end.
    """
    warmup = min(warmup, steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
