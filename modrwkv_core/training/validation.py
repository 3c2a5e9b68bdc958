"""The loss on held-out data."""

from __future__ import annotations

from collections import Counter

import torch
from tqdm import tqdm

from modrwkv_core.manifest.schema import Phase
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.counts import supervised
from modrwkv_core.training.prefetch import batches_on
from modrwkv_core.training.step import blank

__all__ = ["validate"]


def validate(context: RunContext, phase: Phase) -> dict[str, float]:
    """Return the mean loss of each head over the held-out data, as ``valid/<head>``.

    The mean is over tokens or queries. All processes call this together.

    Args:
        context: The run; the parts of its model are in the modes afterwards that they were in before.
        phase: Says how many conversations a batch holds.

    Raises:
        DataError: A record is broken.
        TrainingInterruptedError: A signal came.
    """
    model, loader = context.model, context.loader(phase, context.valid)
    sums = dict.fromkeys(model.heads, 0.0)
    counts: Counter[str] = Counter()
    training = {part: part.training for part in model.parts().values()}
    model.eval()
    bar = tqdm(
        batches_on(model.device, loader.batches(0)),
        total=loader.batches_per_epoch(0),
        desc=f"{phase.name}: validation",
        unit="batch",
        disable=not context.progress_bar,
        dynamic_ncols=True,
    )
    with torch.no_grad():
        for micro_batches in bar:
            context.interrupts.check()
            for batch in micro_batches:
                if context.sharded is not None:
                    losses, _ = context.sharded(batch or blank())
                elif batch is not None:
                    losses = model.losses(batch)
                if batch is not None:
                    own = supervised(model, batch)
                    for head, loss in losses.items():
                        sums[head] += float(loss) * own[head]
                        counts[head] += own[head]
    if context.sharded is not None:
        context.sharded.release()
    for part, mode in training.items():
        part.train(mode)
    own_sums = torch.tensor(
        [*sums.values(), *(float(counts[head]) for head in sums), float(loader.skipped)], dtype=torch.float64
    )
    *total, skipped = context.world.sum(own_sums).tolist()
    means = {
        f"valid/{head}": loss / count
        for head, loss, count in zip(sums, total, total[len(sums) :], strict=False)
        if count
    }
    return means | ({"valid/skipped_records": skipped} if skipped else {})
