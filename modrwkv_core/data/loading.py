"""Resumable, deterministic loading: the same batches whatever the number of workers and wherever a run resumes."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from modrwkv_core.data.arena import PackedObject, SharedArena, pack_arena, unpack_arena
from modrwkv_core.data.augmenting import Draw
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.order import epoch_order, epoch_size, sample_seeds
from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.interfaces.source import Source

__all__ = ["Loader", "OnError", "Share"]

OnError: TypeAlias = Literal["raise", "skip"]

_WARNINGS: Final = 10
"""Records that are named when they are left out; more are only counted."""

_KEPT_ARENAS: Final = 4
"""Of a worker. Torch asks it for a batch once it has handed over the second before, which is opened before the next."""

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several processes computes of each batch.

    Attributes:
        rank: The process, from 0.
        size: The number of processes.
        micro_batch_size: Conversations that it computes at once; None for all of its share.
    """

    rank: int = 0
    size: int = 1
    micro_batch_size: int | None = None

    def micro_batches(self, batch: list[list[int]]) -> list[list[list[int]]]:
        """Split the share of ``batch``; every process gets as many parts, of which some may be empty."""
        longest = -(-len(batch) // self.size)
        step = self.micro_batch_size or max(longest, 1)
        mine = batch[self.rank :: self.size]
        return [mine[first : first + step] for first in range(0, longest, step)]


class Loader:
    """Packed batches of several sources, epoch by epoch.

    A position in the data is an epoch and the index of a batch in it; that is all a checkpoint has to remember. Neither
    the number of processes nor that of workers changes which conversations a batch holds.

    Args:
        sources: Where records come from; each is read as often as its configuration's ``repeat`` says.
        encoder: Makes samples of records.
        batch_size: Conversations in a batch of all processes; the last batch of an epoch may be smaller.
        share: What this process computes of it.
        seed: Of the run.
        phase: Name of the training phase; phases order the records in different orders.
        workers: Processes that decode and process media; 0 does it in this one.
        pin_memory: Whether batches lie in pinned memory, from which a GPU copies asynchronously.
        on_error: Whether a broken record is an error, or left out with a warning and counted.
        augment: Whether the encoder's augmentations change what is read.

    Attributes:
        skipped: Broken records that were left out so far.

    Raises:
        DataError: A source holds no records.
    """

    def __init__(
        self,
        sources: Sequence[Source[Any]],
        encoder: ConversationEncoder,
        *,
        batch_size: int,
        seed: int,
        share: Share = Share(),
        phase: str = "",
        workers: int = 0,
        pin_memory: bool = False,
        on_error: OnError = "raise",
        augment: bool = False,
    ) -> None:
        for source in sources:
            if not len(source):
                raise DataError("the source holds no records", component=f"source/{source.config.source}")
        self._sizes = [len(source) for source in sources]
        self._repeats = [source.config.repeat for source in sources]
        self._batch_size = batch_size
        self._seed = seed
        self._phase = phase
        self._augment = augment
        self._share = share
        self._indices = _SampleIndices(batch_size, share)
        self.skipped = 0
        self._loader = DataLoader(
            _Batches(sources, encoder, on_error),
            batch_size=None,
            sampler=self._indices,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_identity,
            pin_memory=pin_memory,
            worker_init_fn=_tie_to_parent,
            # Iterating draws a seed; from the global generator, that would make a resumed run differ.
            generator=torch.Generator(),
        )

    def batches_per_epoch(self, epoch: int) -> int:
        """Count the batches of ``epoch``; epochs differ where a ``repeat`` is not whole."""
        return -(-epoch_size(self._sizes, self._repeats, epoch) // self._batch_size)

    def batches_from(self, count: int) -> Iterator[tuple[Batch | None, ...]]:
        """Yield batches epoch by epoch without end, after the first ``count``; see :meth:`batches`."""
        epoch = 0
        while count >= (size := self.batches_per_epoch(epoch)):
            count -= size
            epoch += 1
        while True:
            yield from self.batches(epoch, start=count)
            epoch, count = epoch + 1, 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[tuple[Batch | None, ...]]:
        """Yield the batches of ``epoch`` from index ``start`` on. A new iteration ends the one before.

        A batch comes in the micro-batches of this process. One of them is None if it is empty, or if all of its records
        are broken and left out.

        Raises:
            DataError: A record is broken, from whichever process, or a worker was killed.
        """
        order = epoch_order(self._sizes, self._repeats, seed=self._seed, phase=self._phase, epoch=epoch)
        if self._augment:
            seeds = sample_seeds(len(order), seed=self._seed, phase=self._phase, epoch=epoch)
            order = np.column_stack([order, seeds])
        self._indices.order = order[start * self._batch_size :]
        loaded = self._micro_batches()
        for micro_batches in self._indices.steps():
            yield tuple(next(loaded) for _ in micro_batches)

    def _micro_batches(self) -> Iterator[Batch | None]:
        for payload in self._payloads():
            arena = payload.memory()
            content, skipped = unpack_arena(payload.packed, arena)
            if isinstance(content, ModRWKVError):
                try:
                    raise content
                finally:
                    # The traceback knows this frame; a cycle would keep idle workers until some later collection.
                    del content
            for message in skipped:
                self.skipped += 1
                if self.skipped <= _WARNINGS:
                    warnings.warn(f"left out: {message}", stacklevel=2)
            yield replace(content, arena=arena) if isinstance(content, Batch) else None

    def _payloads(self) -> Iterator[_Payload]:
        # Torch's own handler would raise wherever the main thread is when a worker dies, even within an optimizer's
        # step; the iterator finds out, too, when it waits for a batch.
        handler = signal.getsignal(signal.SIGCHLD)
        with _explained_deaths():
            iterator = iter(self._loader)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)
        while True:
            with _explained_deaths():
                payload: _Payload | None = next(iterator, None)
            if payload is None:
                return
            with _explained_deaths():
                payload.memory()
            yield payload


class _SampleIndices(Sampler[list[list[int]]]):
    """The micro-batches to come, each a list of (source, record), and the sample's seed if it is augmented."""

    def __init__(self, batch_size: int, share: Share) -> None:
        self._batch_size = batch_size
        self._share = share
        self.order: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)

    def __iter__(self) -> Iterator[list[list[int]]]:
        for micro_batches in self.steps():
            yield from micro_batches

    def steps(self) -> Iterator[list[list[list[int]]]]:
        """Yield the micro-batches of each batch."""
        order = self.order
        for first in range(0, len(order), self._batch_size):
            yield self._share.micro_batches(order[first : first + self._batch_size].tolist())


@dataclass(slots=True)
class _Payload:
    """A batch on its way from a worker.

    Attributes:
        packed: The batch, without the bytes of its tensors.
        arena: These bytes.
    """

    packed: PackedObject
    arena: SharedArena | Tensor

    def memory(self) -> Tensor:
        """Return the bytes; the first call opens what a worker shares."""
        if isinstance(self.arena, SharedArena):
            self.arena = self.arena.tensor()
        return self.arena

    def pin_memory(self) -> _Payload:
        """Copy the bytes to pinned memory; torch's thread for that calls it."""
        return _Payload(self.packed, self.memory().pin_memory())


class _Batches(Dataset[_Payload]):
    """Makes batches in a worker.

    Their tensors lie in one arena, because torch would otherwise spend a shared-memory file on every tensor, of which
    containers and ``ulimit -n`` allow few; and users' errors travel as values, because torch would rewrite their
    messages.
    """

    def __init__(self, sources: Sequence[Source[Any]], encoder: ConversationEncoder, on_error: OnError) -> None:
        self._sources = sources
        self._encoder = encoder
        self._on_error = on_error
        self._shared: deque[SharedArena] = deque(maxlen=_KEPT_ARENAS)

    def __getitem__(self, indices: list[list[int]]) -> _Payload:
        samples, skipped = [], []
        content: Batch | ModRWKVError | None
        try:
            for number, record, *seeds in indices:
                source = self._sources[number]
                draw = Draw(seeds[0], source) if seeds else None
                try:
                    samples.append(self._encoder.sample(source[record], draw))
                except DataError as error:
                    if self._on_error == "raise":
                        raise
                    skipped.append(error.message)
            content = pack(samples) if samples else None
        except ModRWKVError as error:
            content = error
        if get_worker_info() is None:
            return _Payload(*pack_arena((content, skipped), partial(torch.empty, dtype=torch.uint8)))

        def allocate(size: int) -> Tensor:
            self._shared.append(SharedArena(size))
            return self._shared[-1].tensor()

        packed, _ = pack_arena((content, skipped), allocate)
        return _Payload(packed, self._shared[-1])


@contextlib.contextmanager
def _explained_deaths() -> Iterator[None]:
    """Turn torch's report of a killed worker into an error with a hint."""
    try:
        yield
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # of a batch that it has announced
        raise _death(error) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _death(error) from error


def _death(error: Exception) -> DataError:
    return DataError(
        f"a loader worker was killed: {str(error).partition(chr(10))[0]}",
        component="data.workers",
        hint="usually the system ran out of memory: use fewer data.workers, or smaller batches",
    )


def _tie_to_parent(_worker: int) -> None:
    """Let a worker die with the process that trains, and leave signals to that process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(AttributeError, OSError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died before
        os._exit(1)


def _identity(payload: Any) -> Any:
    return payload
