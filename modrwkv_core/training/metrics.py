"""Means of the metrics between two log lines."""

from __future__ import annotations

import math
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import torch
from torch import Tensor

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.feature_cache import CacheableItem, cached_features
from modrwkv_core.model.train_state import AccumulatedMetrics
from modrwkv_core.training.world import World

__all__ = ["MetricsAccumulator", "StepMetrics", "peak_memory"]

GIB: Final = 2**30

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """What one step has measured; the values may still be computed.

    Attributes:
        step: The run's step, counted from 1.
        keys: Names of some of its conversations.
        names: Of the values.
        values: ``[names]``, float64, on the device.
    """

    step: int
    keys: tuple[str, ...]
    names: tuple[str, ...]
    values: Tensor

    def extended(self, names: Sequence[str], values: Tensor) -> StepMetrics:
        """Return these metrics with more of them, of ``values [names]`` on the device."""
        return replace(self, names=(*self.names, *names), values=torch.cat([self.values, values]))

    def are_finite(self) -> bool:
        """Whether all values are finite; waits for the device."""
        return bool(self.values.isfinite().all())


class MetricsAccumulator:
    """Sums since the last log line; a checkpoint holds them, so that a resumed run logs the same means.

    The values of steps stay on the device until :meth:`fetch` takes all of them at once: the host waits for a GPU
    there, and in no step.

    Args:
        sums: Those of a checkpoint.
        peak_flops: Operations a second that the device can do; None if it is not known.
    """

    def __init__(self, sums: AccumulatedMetrics | None = None, peak_flops: float | None = None) -> None:
        self._peak_flops = peak_flops
        self._pending: list[StepMetrics] = []
        self.reset(sums)

    def reset(self, sums: AccumulatedMetrics | None = None) -> None:
        """Begin again, or where a checkpoint stood."""
        sums = sums or AccumulatedMetrics()
        self._began = time.perf_counter() - sums.seconds
        self._sums = dict(sums.sums)
        self._counts = dict(sums.counts)
        self._tokens, self._samples = sums.tokens, sums.samples
        self._features, self._padded = sums.features, sums.padded
        self._waited, self._flops = sums.waited, sums.flops
        self._cacheable, self._cached = sums.cacheable, sums.cached

    def waiting(self, batches: Iterator[_T]) -> Iterator[_T]:
        """Yield ``batches``, and measure how long they keep the caller waiting."""
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            finally:
                self._waited += time.perf_counter() - began
            yield batch

    def leave_out(self, seconds: float) -> None:
        """Do not count a stretch of time that was not spent on steps."""
        self._began += seconds

    def add(self, metrics: StepMetrics) -> None:
        """Take in the values of one step."""
        self._pending.append(metrics)

    def add_batch(self, batch: Batch, flops: float = 0.0) -> None:
        """Take in what a step learned from, or a part of it.

        Args:
            batch: The part.
            flops: Operations that it took.
        """
        self._tokens += batch.ids.numel()
        self._samples += len(batch.keys)
        self._flops += flops
        counts = defaultdict(list)
        for placed in batch.media:
            counts[placed.modality].append(placed.count)
            if isinstance(placed.item, CacheableItem):
                self._cacheable += 1
                self._cached += cached_features(placed.item) is not None
        self._features += sum(map(sum, counts.values()))
        self._padded += sum(len(each) * max(each) for each in counts.values())

    @property
    def pending(self) -> int:
        """Number of steps whose values are still on the device."""
        return len(self._pending)

    def fetch(self) -> StepMetrics | None:
        """Take the values from the device; return the first step with one that is not finite, if there is any."""
        pending, self._pending = self._pending, []
        if not pending:
            return None
        values = iter(torch.cat([metrics.values for metrics in pending]).tolist())
        for metrics in pending:
            for name, value in zip(metrics.names, values, strict=False):
                if not math.isfinite(value):
                    return metrics
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        return None

    def means(self, world: World) -> dict[str, float]:
        """Return the means by name of what was fetched; none of losses if no step was taken.

        All processes of ``world`` call this together; what they did is summed.

        Beside them stand ``tokens_per_second``, ``samples_per_second``; ``tokens_per_step``, if one was taken;
        ``data_wait``, the share of the time that the host waited for data; ``padding``, the share of padding if the
        features of a modality are padded to the longest of the batch; ``mfu``, the share of the device's peak, if that
        is known; ``feature_cache_hits``, the share of media whose features were cached, if a cache is used.
        """
        seconds = max(time.perf_counter() - self._began, 1e-9)
        own = [self._tokens, self._samples, self._features, self._padded, self._flops, self._waited]
        own += [self._cacheable, self._cached]
        total = world.sum(torch.tensor(own, dtype=torch.float64)).tolist()
        tokens, samples, features, padded, flops, waited, cacheable, cached = total
        metrics = {name: total / self._counts[name] for name, total in self._sums.items()}
        metrics |= {
            "tokens_per_second": tokens / seconds,
            "samples_per_second": samples / seconds,
            "data_wait": min(1.0, waited / world.size / seconds),
        }
        if padded:
            metrics["padding"] = 1 - features / padded
        if steps := self._counts.get("loss"):
            metrics["tokens_per_step"] = tokens / steps
        if cacheable:
            metrics["feature_cache_hits"] = cached / cacheable
        if self._peak_flops is not None:
            metrics["mfu"] = flops / seconds / self._peak_flops / world.size
        return metrics

    def state(self) -> AccumulatedMetrics:
        """Return the sums of what was fetched, for a checkpoint."""
        return AccumulatedMetrics(
            sums=self._sums,
            counts=self._counts,
            tokens=self._tokens,
            samples=self._samples,
            features=self._features,
            padded=self._padded,
            cacheable=self._cacheable,
            cached=self._cached,
            waited=self._waited,
            flops=self._flops,
            seconds=time.perf_counter() - self._began,
        )


def peak_memory(device: torch.device) -> float:
    """Return the highest memory so far in GiB: what torch allocated on a GPU, or what the process occupied."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB  # Linux counts in KiB
