"""Resumable, deterministic loading: the same batches whatever the number of workers and wherever a run resumes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.order import epoch_order, epoch_size
from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.interfaces.source import Source

__all__ = ["Loader"]


class Loader:
    """Packed batches of several sources, epoch by epoch.

    A position in the data is an epoch and the index of a batch in it; that is all a checkpoint has to remember.

    Args:
        sources: Where records come from; each is read as often as its configuration's ``repeat`` says.
        encoder: Makes samples of records.
        batch_size: Conversations in a batch; the last batch of an epoch may be smaller.
        seed: Of the run.
        phase: Name of the training phase; phases order the records in different orders.
        workers: Processes that decode and process media; 0 does it in this one.

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
        phase: str = "",
        workers: int = 0,
    ) -> None:
        for source in sources:
            if not len(source):
                raise DataError("the source holds no records", component=f"source/{source.config.source}")
        self._sizes = [len(source) for source in sources]
        self._repeats = [source.config.repeat for source in sources]
        self._batch_size = batch_size
        self._seed = seed
        self._phase = phase
        self._indices = _SampleIndices(batch_size)
        self._loader = DataLoader(
            _Batches(sources, encoder),
            batch_size=None,
            sampler=self._indices,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_identity,
            # Iterating draws a seed; from the global generator, that would make a resumed run differ.
            generator=torch.Generator(),
        )

    def batches_per_epoch(self, epoch: int) -> int:
        """Count the batches of ``epoch``; epochs differ where a ``repeat`` is not whole."""
        return -(-epoch_size(self._sizes, self._repeats, epoch) // self._batch_size)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from index ``start`` on. A new iteration ends the one before.

        Raises:
            DataError: A record is broken, from whichever process.
        """
        order = epoch_order(self._sizes, self._repeats, seed=self._seed, phase=self._phase, epoch=epoch)
        self._indices.order = order[start * self._batch_size :]
        for payload in self._loader:
            content = pickle.loads(payload)
            if isinstance(content, ModRWKVError):
                try:
                    raise content
                finally:
                    # The traceback knows this frame; a cycle would keep idle workers until some later collection.
                    del content
            yield content


class _SampleIndices(Sampler[list[list[int]]]):
    """The batches to come, each a list of (source, record)."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.order: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)

    def __iter__(self) -> Iterator[list[list[int]]]:
        order = self.order
        for first in range(0, len(order), self._batch_size):
            yield order[first : first + self._batch_size].tolist()


class _Batches(Dataset[bytes]):
    """Makes batches in a worker.

    They travel pickled, because torch would otherwise spend a shared-memory file on every tensor, of which containers
    and ``ulimit -n`` allow few; and users' errors travel as values, because torch would rewrite their messages.
    """

    def __init__(self, sources: Sequence[Source[Any]], encoder: ConversationEncoder) -> None:
        self._sources = sources
        self._encoder = encoder

    def __getitem__(self, indices: list[list[int]]) -> bytes:
        try:
            content: Batch | ModRWKVError = pack(
                [self._encoder.sample(self._sources[source][record]) for source, record in indices]
            )
        except ModRWKVError as error:
            content = error
        return pickle.dumps(content)


def _identity(payload: Any) -> Any:
    return payload
