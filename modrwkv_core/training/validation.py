"""The loss on held-out data, and how much of it each modality takes away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from tqdm import tqdm

from modrwkv_core.data.batch import Batch
from modrwkv_core.manifest.schema import VALID_LOSS, Phase
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.counts import supervised
from modrwkv_core.training.prefetch import batches_on
from modrwkv_core.training.step import blank

__all__ = ["exchanged", "validate"]

_GAIN_BATCHES: Final = 8
"""Batches that are read again with exchanged media, for each modality: enough to tell nothing from something."""


def validate(context: RunContext, phase: Phase) -> dict[str, float]:
    """Measure the model on the held-out data. All processes call this together.

    Args:
        context: The run; its model is in the modes afterwards that it was in before.
        phase: Says how many conversations a batch holds.

    Returns:
        ``valid/<head>``, the mean loss over tokens or queries; ``valid_loss``, their weighted sum; and
        ``modality_gain/<modality>``, by how much the weighted loss of conversations with this modality rises if each
        gets the medium of another one. A gain of 0 means that the model does not look or listen.

    Raises:
        DataError: A record is broken.
        TrainingInterruptedError: A signal came.
    """
    model, loader = context.model, context.loader(phase, context.valid)
    sums: dict[str, float] = defaultdict(float)
    modes = {module: module.training for module in model.modules()}
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
        for index, micro_batches in enumerate(bar):
            if context.world.size == 1:  # several processes agree on a signal before their next step
                context.interrupts.check()
            for batch in micro_batches:
                true = _total_losses(context, batch)
                for name, (loss, count) in true.items():
                    sums[f"loss/{name}"] += loss
                    sums[f"count/{name}"] += count
                for modality in model.embedders if index < _GAIN_BATCHES else ():
                    _add_gain(context, batch, modality, true, sums)
    if context.sharded is not None:
        context.sharded.release()
    for module, mode in modes.items():
        module.training = mode
    sums["skipped"] = float(loader.num_skipped)
    context.note_skipped(f"{phase.name}, validation", loader)
    return _metrics(context, _summed(context, sums))


def exchanged(batch: Batch, modality: str) -> tuple[Batch, tuple[int, ...]] | None:
    """Give conversations the media of each other.

    A medium goes where another one of the same number of feature vectors was.

    Args:
        batch: At least one conversation.
        modality: Whose media are exchanged.

    Returns:
        The batch, and the indices of the conversations that have another medium now; None if no two media fit.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for index, placed in enumerate(batch.media):
        if placed.modality == modality:
            groups[placed.count].append(index)
    media, moved = list(batch.media), []
    for group in groups.values():
        for index, other in zip(group, group[1:] + group[:1], strict=True):
            if index != other:
                media[index] = replace(batch.media[index], item=batch.media[other].item)
                moved.append(batch.media[index].position)
    if not moved:
        return None
    conversations = _conversations(batch, torch.tensor(moved))
    return replace(batch, media=tuple(media)), tuple(sorted(set(conversations.tolist())))


def _total_losses(context: RunContext, batch: Batch | None) -> dict[str, tuple[float, int]]:
    """Return the sum of each head's loss over a batch, and what it is a sum over."""
    losses: Mapping[str, Tensor] = {}
    if context.sharded is not None:
        losses, _ = context.sharded(batch or blank())
    elif batch is not None:
        losses = context.model.losses(batch)
    if batch is None:
        return {}
    counts = supervised(context.model, batch)
    return {name: (float(loss) * counts[name], counts[name]) for name, loss in losses.items()}


def _add_gain(
    context: RunContext,
    batch: Batch | None,
    modality: str,
    true: Mapping[str, tuple[float, int]],
    sums: dict[str, float],
) -> None:
    pair = None if batch is None else exchanged(batch, modality)
    if pair is None:
        if context.sharded is not None:  # the others may have media to exchange
            context.sharded(blank())
        return
    other, conversations = pair
    for name, (loss, _) in _total_losses(context, other).items():
        # Conversations do not know each other, so the sums differ by what these ones lose.
        sums[f"gain/{modality}/{name}"] += loss - true[name][0]
        sums[f"gain_count/{modality}/{name}"] += _count(context, other, name, conversations)


def _count(context: RunContext, batch: Batch, head: str, conversations: Sequence[int]) -> int:
    """Count what ``head`` is supervised on in some conversations of a batch."""
    return int(torch.isin(_conversations(batch, _positions(context, batch, head)), torch.tensor(conversations)).sum())


def _positions(context: RunContext, batch: Batch, head: str) -> Tensor:
    """Return a position for each token, medium or query that ``head`` is supervised on."""
    if head in context.model.token_heads():
        return batch.supervised.cpu()
    if (transcriber := context.model.transcript_heads().get(head)) is not None:
        transcribed = batch.transcribed(transcriber.config.modality)
        return torch.tensor([placed.position for placed, _ in transcribed], dtype=torch.int64)
    return batch.query_positions[head].cpu()


def _conversations(batch: Batch, positions: Tensor) -> Tensor:
    """Return the index of the conversation that each position lies in."""
    ends = torch.tensor(batch.cu_seqlens.lengths).cumsum(0)
    return torch.searchsorted(ends, positions, right=True)


def _summed(context: RunContext, sums: Mapping[str, float]) -> dict[str, float]:
    """Sum over all processes, which need not have met the same heads and modalities."""
    names = sorted(set().union(*context.world.gather(list(sums))))
    values = torch.tensor([sums.get(name, 0.0) for name in names], dtype=torch.float64)
    return dict(zip(names, context.world.sum(values).tolist(), strict=True))


def _metrics(context: RunContext, sums: Mapping[str, float]) -> dict[str, float]:
    model, heads = context.model, context.manifest.heads
    metrics = {
        f"valid/{name}": sums[f"loss/{name}"] / sums[f"count/{name}"]
        for name in model.heads
        if sums.get(f"count/{name}")
    }
    if metrics:
        metrics[VALID_LOSS] = sum(metrics.get(f"valid/{name}", 0.0) * head.loss_weight for name, head in heads.items())
    for modality in model.embedders:
        gains = [
            heads[name].loss_weight * sums[f"gain/{modality}/{name}"] / count
            for name in model.heads
            if (count := sums.get(f"gain_count/{modality}/{name}"))
        ]
        if gains:
            metrics[f"modality_gain/{modality}"] = sum(gains)
    return metrics | ({"valid/skipped_records": sums["skipped"]} if sums["skipped"] else {})
