"""How the samples of an epoch become batches: so many conversations, or so many tokens of conversations of like length.

Batches depend on the order and on the lengths alone, so they are the same on every process, and can be counted without
loading anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.data.order import EpochOrder
from modrwkv_core.data.permutation import Permutation

__all__ = ["EpochBatches", "Lengths", "SampleIndex", "Share"]

Lengths: TypeAlias = Sequence[NDArray[np.uint32]]
"""By source, the number of tokens of each record; 0 if it is broken."""

_WINDOW: Final = 2**16
"""Samples that are sorted into buckets at once: many batches, but little memory."""

_BLOCK: Final = 2**12
"""Samples that are looked up at once where nothing is sorted."""

_BUCKETS: Final = 4
"""Buckets of lengths for each factor of two; in one, no conversation is longer than another by more than a fifth."""


class SampleIndex(NamedTuple):
    """Which record becomes a sample.

    Attributes:
        source: The source's index.
        record: The record's index in it.
        tokens: Its length; 0 if it is known to be broken, None if lengths were not measured.
        seed: Of its augmentations; None augments nothing.
    """

    source: int
    record: int
    tokens: int | None = None
    seed: int | None = None


class EpochBatches:
    """The batches of one epoch.

    Without ``max_tokens``, a batch is the next ``batch_size`` samples of the order. With it, samples of like length
    come together, so that little is padded where media are; which ones, and when, is drawn at random.

    Args:
        order: The samples.
        batch_size: The most conversations in a batch; None: any number.
        max_tokens: The most tokens of all its conversations, which needs ``lengths``; None: any number. A longer
            conversation is a batch by itself.
        lengths: Of all records; None if they were not measured.
        augment: Whether samples have seeds.
    """

    def __init__(
        self,
        order: EpochOrder,
        batch_size: int | None,
        max_tokens: int | None,
        *,
        lengths: Lengths | None,
        augment: bool,
    ) -> None:
        assert batch_size is not None or max_tokens is not None, "something must end a batch"
        assert max_tokens is None or lengths is not None, "a limit of tokens needs lengths"
        self._order = order
        self._batch_size = batch_size or len(order)
        self._max_tokens = max_tokens
        self._lengths = lengths
        self._augment = augment
        self._counts: list[int] | None = None

    def __len__(self) -> int:
        if self._max_tokens is None:
            return -(-len(self._order) // self._batch_size)
        return sum(self._window_counts())

    def since(self, start: int) -> Iterator[list[SampleIndex]]:
        """Yield the batches from index ``start`` on."""
        if self._max_tokens is None:
            yield from self._of_conversations(start)
            return
        for window, begin in enumerate(range(0, len(self._order), _WINDOW)):
            if start and start >= (count := self._window_counts()[window]):
                start -= count
                continue
            samples, bounds = self._of_tokens(begin)
            shuffle = Permutation(len(bounds) - 1, [self._order.seed, window])
            for batch in shuffle(np.arange(start, len(bounds) - 1)).tolist():
                yield samples.indices(bounds[batch], bounds[batch + 1])
            start = 0

    def _of_conversations(self, start: int) -> Iterator[list[SampleIndex]]:
        """Yield batches of ``batch_size`` samples; looked up many at once, because each look-up costs a millisecond."""
        size = self._batch_size
        block = max(1, _BLOCK // size) * size
        for begin in range(start * size, len(self._order), block):
            samples = self._samples(begin, min(begin + block, len(self._order)))
            for first in range(0, len(samples.records), size):
                yield samples.indices(first, first + size)

    def _window_counts(self) -> list[int]:
        """Return the number of batches of each window; this looks at every sample once."""
        if self._counts is None:
            self._counts = [len(self._of_tokens(begin)[1]) - 1 for begin in range(0, len(self._order), _WINDOW)]
        return self._counts

    def _of_tokens(self, begin: int) -> tuple[_Samples, list[int]]:
        """Return the samples of the window at ``begin`` by their buckets, and the bounds of batches among them."""
        samples = self._samples(begin, min(begin + _WINDOW, len(self._order)))
        assert samples.tokens is not None, "a limit of tokens needs lengths"
        assert self._max_tokens is not None, "only it has windows"
        buckets = np.floor(np.log2(np.maximum(samples.tokens, 1)) * _BUCKETS).astype(np.uint8)
        samples = samples.by(np.argsort(buckets, kind="stable"))
        assert samples.tokens is not None, "they are those from above"
        ends = np.cumsum(samples.tokens)
        # Where a batch would end that began at each sample.
        first = np.arange(len(ends))
        end = np.searchsorted(ends, ends - samples.tokens + self._max_tokens, side="right")
        next_bound = np.minimum(np.maximum(end, first + 1), first + self._batch_size).tolist()
        bounds = [0]
        while bounds[-1] < len(ends):
            bounds.append(min(next_bound[bounds[-1]], len(ends)))
        return samples, bounds

    def _samples(self, begin: int, end: int) -> _Samples:
        """Return the samples ``[begin, end)`` of the order."""
        places = np.arange(begin, end)
        records = self._order.records(places)
        tokens = None
        if self._lengths is not None:
            tokens = np.empty(len(records), dtype=np.int64)
            for source, lengths in enumerate(self._lengths):
                chosen = records[:, 0] == source
                tokens[chosen] = lengths[records[chosen, 1]]
        return _Samples(records, tokens, self._order.seeds(places) if self._augment else None)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Some samples: ``records [samples, 2]``, and their lengths and seeds ``[samples]``."""

    records: NDArray[np.int64]
    tokens: NDArray[np.int64] | None
    seeds: NDArray[np.int64] | None

    def by(self, order: NDArray[np.int64]) -> _Samples:
        tokens, seeds = (None if each is None else each[order] for each in (self.tokens, self.seeds))
        return _Samples(self.records[order], tokens, seeds)

    def indices(self, begin: int, end: int) -> list[SampleIndex]:
        records = self.records[begin:end].tolist()
        nothing = [None] * len(records)
        tokens = nothing if self.tokens is None else self.tokens[begin:end].tolist()
        seeds = nothing if self.seeds is None else self.seeds[begin:end].tolist()
        return [SampleIndex(*record, *rest) for record, *rest in zip(records, tokens, seeds, strict=True)]


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several processes computes of each batch.

    Attributes:
        rank: The process, from 0.
        size: The number of processes.
        micro_batch_size: Conversations that it computes at once; None for all of its share.
        micro_batch_tokens: Tokens that it computes at once, which needs lengths; None for all of its share.
    """

    rank: int = 0
    size: int = 1
    micro_batch_size: int | None = None
    micro_batch_tokens: int | None = None

    def micro_batches(self, batch: list[SampleIndex]) -> list[list[SampleIndex]]:
        """Split the share of ``batch``; every process gets as many parts, of which some may be empty.

        Where lengths are known, all shares hold about as many tokens, else as many conversations.
        """
        parts = [self._parts(share) for share in self._shares(batch)]
        mine = parts[self.rank]
        return mine + [[] for _ in range(max(map(len, parts)) - len(mine))]

    def _shares(self, batch: list[SampleIndex]) -> list[list[SampleIndex]]:
        if self.size == 1 or any(sample.tokens is None for sample in batch):
            return [batch[rank :: self.size] for rank in range(self.size)]
        shares: list[list[SampleIndex]] = [[] for _ in range(self.size)]
        loads = [0] * self.size
        for sample in sorted(batch, key=lambda sample: sample.tokens or 0, reverse=True):
            least = min(range(self.size), key=lambda rank: (loads[rank], len(shares[rank])))
            shares[least].append(sample)
            loads[least] += sample.tokens or 0
        return shares

    def _parts(self, share: list[SampleIndex]) -> list[list[SampleIndex]]:
        parts: list[list[SampleIndex]] = []
        tokens = 0
        for sample in share:
            tokens += sample.tokens or 0
            is_full = self.micro_batch_size is not None and bool(parts) and len(parts[-1]) == self.micro_batch_size
            is_long = self.micro_batch_tokens is not None and tokens > self.micro_batch_tokens
            if not parts or is_full or is_long:
                parts.append([])
                tokens = sample.tokens or 0
            parts[-1].append(sample)
        return parts
