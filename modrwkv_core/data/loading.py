"""Resumable, deterministic loading: the same batches whatever the number of workers and wherever a run resumes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from modrwkv_core.data.augmenting import Draw
from modrwkv_core.data.batch import Batch, Sample
from modrwkv_core.data.batching import EpochBatches, Lengths, SampleIndex, Share
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.order import EpochOrder
from modrwkv_core.data.packing import pack
from modrwkv_core.data.workers import Payload, WorkerDataset, iterate, make_loader
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.interfaces.source import Source
from modrwkv_core.readers.files import cache_folder

__all__ = ["Loader", "OnError", "SkippedRecord"]

OnError: TypeAlias = Literal["fail", "skip"]

_WARNINGS: Final = 10
"""Records that are named when they are left out; more are only counted."""


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A broken record that was left out.

    Attributes:
        source: The source's name.
        record: The record's index in it.
        reason: What is broken.
    """

    source: str
    record: int
    reason: str


class Loader:
    """Packed batches of several sources, epoch by epoch.

    A position in the data is an epoch and the index of a batch in it; that is all a checkpoint has to remember. Neither
    the number of processes nor that of workers changes which conversations a batch holds.

    Args:
        sources: Where records come from; each is read as often as its configuration's ``repeat`` says.
        encoder: Makes samples of records.
        batch_size: The most conversations in a batch of all processes; None: any number.
        max_tokens_per_batch: The most tokens of all conversations of a batch, which needs ``lengths``; None: any
            number. One of both limits is needed.
        lengths: Tokens of all records, by source; None if they were not measured.
        share: What this process computes of it; None: all.
        seed: Of the run.
        phase: Name of the training phase; phases order the records in different orders.
        workers: Processes that decode and process media; 0 does it in this one.
        pin_memory: Whether batches lie in pinned memory, from which a GPU copies asynchronously.
        on_error: Whether a broken record is an error, or left out with a warning and counted.
        augment: Whether the encoder's augmentations change what is read.

    Attributes:
        num_skipped: Broken records that were left out so far.

    Raises:
        DataError: A source holds no records.
    """

    def __init__(
        self,
        sources: Sequence[Source[Any]],
        encoder: ConversationEncoder,
        *,
        batch_size: int | None,
        max_tokens_per_batch: int | None = None,
        lengths: Lengths | None = None,
        seed: int,
        share: Share | None = None,
        phase: str = "",
        workers: int = 0,
        pin_memory: bool = False,
        on_error: OnError = "fail",
        augment: bool = False,
    ) -> None:
        for source in sources:
            if not len(source):
                raise DataError("the source holds no records", component=f"source/{source.config.source}")
        self._sizes = [len(source) for source in sources]
        self._names = [source.config.source for source in sources]
        self._repeats = [source.config.repeat for source in sources]
        self._limits = (batch_size, max_tokens_per_batch)
        self._lengths = lengths
        self._seed = seed
        self._phase = phase
        self._augment = augment
        self._indices = _MicroBatchIndices(share or Share())
        self._epoch: tuple[int, EpochBatches] | None = None
        self.num_skipped = 0
        self._skipped: list[SkippedRecord] = []
        self._loader = make_loader(_Batches(sources, encoder, on_error), self._indices, workers, pin_memory=pin_memory)

    def batches_per_epoch(self, epoch: int) -> int:
        """Count the batches of ``epoch``; epochs differ where a ``repeat`` is not whole."""
        return len(self._batches_of(epoch))

    def batches_from(self, count: int) -> Iterator[tuple[Batch | None, ...]]:
        """Yield batches epoch by epoch without end, after the first ``count``; see :meth:`batches`."""
        epoch = 0
        while count and count >= (size := self.batches_per_epoch(epoch)):
            count -= size
            epoch += 1
        # One iteration, so that workers begin an epoch before the one before it has ended.
        return self._load(self._endless(epoch, count))

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[Batch | None, ...]]:
        """Yield the batches of ``epoch`` from index ``start`` on. A new iteration ends the one before.

        A batch comes in the micro-batches of this process. One of them is None if it is empty, or if all of its records
        are broken and left out.

        Raises:
            DataError: A record is broken, from whichever process, or a worker was killed.
        """
        return self._load(self._batches_of(epoch).since(start))

    def _endless(self, epoch: int, start: int) -> Iterator[list[SampleIndex]]:
        while True:
            yield from self._batches_of(epoch).since(start)
            epoch, start = epoch + 1, 0

    def _load(self, batches: Iterator[list[SampleIndex]]) -> Iterator[tuple[Batch | None, ...]]:
        self._indices.batches = batches
        micro_batches: list[Batch | None] = []
        for micro_batch, is_last in self._micro_batches():
            micro_batches.append(micro_batch)
            if is_last:
                yield tuple(micro_batches)
                micro_batches = []

    def take_skipped(self) -> list[SkippedRecord]:
        """Return the broken records that were left out since the last time."""
        skipped, self._skipped = self._skipped, []
        return skipped

    def _batches_of(self, epoch: int) -> EpochBatches:
        if self._epoch is None or self._epoch[0] != epoch:
            order = EpochOrder(self._sizes, self._repeats, seed=self._seed, phase=self._phase, epoch=epoch)
            batches = EpochBatches(order, *self._limits, lengths=self._lengths, augment=self._augment)
            self._epoch = epoch, batches
        return self._epoch[1]

    def _micro_batches(self) -> Iterator[tuple[Batch | None, bool]]:
        """Yield micro-batches, and whether each is the last of its batch."""
        for payload in iterate(self._loader):
            content, skipped, is_last = payload.content()
            for source, record, reason in skipped:
                self._skipped.append(SkippedRecord(self._names[source], record, reason))
                self.num_skipped += 1
                if self.num_skipped <= _WARNINGS:
                    warnings.warn(f"left out: {reason}", stacklevel=2)
            yield None if content is None else replace(content, arena=payload.memory()), is_last


_Indices: TypeAlias = tuple[list[SampleIndex], bool]
"""The samples of a micro-batch, and whether it is the last of its batch."""


class _MicroBatchIndices:
    """The micro-batches to come."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self.batches: Iterator[list[SampleIndex]] = iter(())

    def __iter__(self) -> Iterator[_Indices]:
        for batch in self.batches:
            *others, last = self._share.micro_batches(batch)
            for micro_batch in others:
                yield micro_batch, False
            yield last, True


class _Batches(WorkerDataset):
    """Makes batches in a worker."""

    def __init__(self, sources: Sequence[Source[Any]], encoder: ConversationEncoder, on_error: OnError) -> None:
        super().__init__()
        self._sources = sources
        self._encoder = encoder
        self._on_error = on_error

    def __getitem__(self, indices: _Indices) -> Payload:
        chosen, is_last = indices
        samples: list[Sample] = []
        skipped: list[tuple[int, int, str]] = []
        try:
            for index in chosen:
                try:
                    samples.append(self._sample(index))
                except DataError as error:
                    if self._on_error == "fail":
                        raise
                    skipped.append((index.source, index.record, error.message))
            return self.payload((pack(samples) if samples else None, skipped, is_last))
        except ModRWKVError as error:
            return self.payload(error)

    def _sample(self, index: SampleIndex) -> Sample:
        source = self._sources[index.source]
        draw = None if index.seed is None else Draw(index.seed, source)
        sample = self._encoder.sample(source[index.record], draw)
        # Augmentations may change lengths; all else means that the batches were planned with other data.
        if index.tokens is not None and draw is None and len(sample.ids) != index.tokens:
            raise DataError(
                f"{sample.key}: has {len(sample.ids)} tokens, but {index.tokens} when lengths were measured",
                hint=f"the data have changed: remove {cache_folder() / 'lengths'}, and they are measured again",
            )
        return sample
