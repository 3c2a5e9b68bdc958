"""Means of the metrics between two log lines."""

from __future__ import annotations

import time

from modrwkv_core.data.batch import Batch
from modrwkv_core.model.train_state import AccumulatedMetrics

__all__ = ["MetricsAccumulator"]


class MetricsAccumulator:
    """Sums since the last log line; a checkpoint holds them, so that a resumed run logs the same means.

    Args:
        sums: Those of a checkpoint.
    """

    def __init__(self, sums: AccumulatedMetrics | None = None) -> None:
        self._began = time.perf_counter() - (sums.seconds if sums else 0.0)
        self._sums = dict(sums.sums) if sums else {}
        self._counts = dict(sums.counts) if sums else {}
        self._tokens = sums.tokens if sums else 0

    def add(self, loss: float, losses: dict[str, float], gradient_norm: float, batch: Batch) -> None:
        """Take in the metrics of one step."""
        metrics = {"loss": loss, **{f"loss/{name}": value for name, value in losses.items()}}
        for name, value in (metrics | {"gradient_norm": gradient_norm}).items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._tokens += batch.ids.numel()

    def means(self) -> dict[str, float]:
        """Return the means by name; none of losses if no step was taken."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        return means | {"tokens_per_second": self._tokens / (time.perf_counter() - self._began)}

    def state(self) -> AccumulatedMetrics:
        """Return the sums, for a checkpoint."""
        return AccumulatedMetrics(
            sums=self._sums, counts=self._counts, tokens=self._tokens, seconds=time.perf_counter() - self._began
        )
