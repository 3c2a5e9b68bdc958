"""The best validation of a phase, and when waiting for a better one ends."""

from __future__ import annotations

import math
from collections.abc import Mapping

from modrwkv_core.errors import DataError
from modrwkv_core.manifest.schema import VALID_LOSS, Phase
from modrwkv_core.model.train_state import BestCheckpoint

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Compares the validations of a phase. Without a section ``early_stopping`` it only finds the best one.

    Args:
        phase: The phase.
        best: What a checkpoint of the phase holds; None before the first validation.

    Attributes:
        best: The best checkpoint so far.
    """

    def __init__(self, phase: Phase, best: BestCheckpoint | None = None) -> None:
        self._phase = phase
        section = phase.early_stopping
        self._metric = VALID_LOSS if section is None else section.metric
        self._min_delta = 0.0 if section is None else section.min_delta
        self._sign = -1.0 if self._metric.startswith("modality_gain/") else 1.0
        self.best = best if best is None or best.metric == self._metric else None

    @property
    def is_due(self) -> bool:
        """Whether the phase ends now, since its last validations were no better than one before them."""
        section = self._phase.early_stopping
        return section is not None and self.best is not None and self.best.stale >= section.patience

    def observe(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take in a validation and return whether it is the best; a repeated one, after a resume, changes nothing.

        Args:
            step: The run's.
            metrics: As :func:`~modrwkv_core.training.validation.validate` returns them.

        Raises:
            DataError: The held-out data did not give the metric.
        """
        value = metrics.get(self._metric)
        if value is None:
            if self._phase.early_stopping is None:
                return False
            raise DataError(
                f"the validation of phase {self._phase.name} gave no {self._metric}",
                component=f"phases.{self._phase.name}.early_stopping",
                hint=f"it gave {', '.join(metrics)}; choose one of them, or add data to `data.valid`",
            )
        best = self.best
        if best is not None and step <= best.seen:
            return best.step == step
        if math.isfinite(value) and (best is None or self._sign * (best.value - value) > self._min_delta):
            self.best = BestCheckpoint(metric=self._metric, step=step, value=value, stale=0, seen=step)
            return True
        if best is not None:
            self.best = best.model_copy(update={"stale": best.stale + 1, "seen": step})
        return False
