"""How much a batch holds, over all processes: what losses are averaged over."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch

from modrwkv_core.data.batch import Batch
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.world import World

__all__ = ["BatchCounts", "supervised"]


def supervised(model: MultimodalModel, batch: Batch) -> Counter[str]:
    """Count what each head of ``model`` is supervised on: tokens, media or queries, by the head's name."""
    counts = Counter({name: len(queries) for name, queries in batch.queries.items()})
    counts += Counter(
        {name: len(batch.transcribed(head.config.modality)) for name, head in model.transcript_heads().items()}
    )
    return counts + Counter(dict.fromkeys(model.token_heads(), len(batch.labels)))


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """What the micro-batches of all processes hold together, and what happened to their processes.

    Attributes:
        conversations: Their number.
        skipped: Number of broken records that were left out.
        heads: By name, what is supervised.
        modalities: By name, the number of media.
        signals: By number, how many processes a signal reached.
        failed: Numbers of the processes that have no batch.
    """

    conversations: int
    skipped: int
    heads: Counter[str]
    modalities: Counter[str]
    signals: Counter[int]
    failed: tuple[int, ...]

    @classmethod
    def of(
        cls,
        model: MultimodalModel,
        micro_batches: Sequence[Batch | None],
        world: World,
        *,
        skipped: int = 0,
        received: int | None = None,
        failed: bool = False,
    ) -> Self:
        """Count, together with all other processes.

        Args:
            model: Its heads and modalities are counted.
            micro_batches: Those of this process.
            world: The processes.
            skipped: Broken records that this process has left out of the batch.
            received: The signal that reached this process.
            failed: Whether it could not load its batch.

        Raises:
            PeerError: Another process is gone.
        """
        own = [batch for batch in micro_batches if batch is not None]
        heads = sum((supervised(model, batch) for batch in own), Counter())
        modalities = Counter(placed.modality for batch in own for placed in batch.media)
        counts = [sum(len(batch.keys) for batch in own), skipped]
        counts += [heads[name] for name in model.heads] + [modalities[name] for name in model.embedders]
        counts += _one_hot(received, _SIGNALS) + _one_hot(world.rank if failed else None, range(world.size))
        total = iter(world.sum(torch.tensor(counts)).tolist())
        return cls(
            conversations=next(total),
            skipped=next(total),
            heads=Counter({name: next(total) for name in model.heads}),
            modalities=Counter({name: next(total) for name in model.embedders}),
            signals=Counter({int(number): next(total) for number in _SIGNALS}),
            failed=tuple(rank for rank, is_failed in enumerate(total) if is_failed),
        )

    def unused_parts(self) -> set[str]:
        """Return the names of heads, as ``heads.<name>``, and of modalities that the batch does not use."""
        heads = {f"heads.{name}" for name, count in self.heads.items() if not count}
        return heads | {name for name, count in self.modalities.items() if not count}


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _one_hot(value: int | None, values: Iterable[int]) -> list[int]:
    return [int(each == value) for each in values]
