"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from modrwkv_core.data.batch import Batch

__all__ = ["batches_on"]


def batches_on(device: torch.device, batches: Iterator[Batch | None]) -> Iterator[Batch | None]:
    """Yield ``batches`` on ``device``.

    A GPU copies from pinned memory on a stream of its own. The host, which only launches kernels, asks for the next
    batch while the device still computes the step before, and so the copy is done when that step ends.
    """
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        if batch is None:
            yield None
            continue
        with torch.cuda.stream(copying):
            moved = batch.to(device)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copying)
        if moved.arena is not None:
            moved.arena.record_stream(computing)
        yield moved
