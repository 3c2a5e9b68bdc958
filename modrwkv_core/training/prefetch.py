"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modrwkv_core.data.batch import Batch

__all__ = ["batches_on"]


def batches_on(device: torch.device, batches: Iterator[tuple[Batch | None, ...]]) -> Iterator[tuple[Batch | None, ...]]:
    """Yield ``batches``, each in micro-batches, on ``device``.

    A GPU copies from pinned memory on a stream of its own. The host, which only launches kernels, asks for the next
    batch while the device still computes the step before, and so the copy is done when that step ends.
    """
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for micro_batches in batches:
        with torch.cuda.stream(copying):
            moved = tuple(None if batch is None else batch.to(device) for batch in micro_batches)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copying)
        for batch in moved:
            if batch is not None and batch.arena is not None:
                batch.arena.record_stream(computing)
        yield moved
