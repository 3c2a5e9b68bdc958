"""The lengths of records, measured once: what a limit of tokens plans batches with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.loading import OnError
from modrwkv_core.data.workers import Payload, WorkerDataset, iterate, make_loader
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.interfaces.source import Source

__all__ = ["measure_lengths", "refuse_longer"]

_CHUNK: Final = 256
"""Records that a worker measures before it answers."""


def measure_lengths(
    source: Source[Any],
    encoder: ConversationEncoder,
    *,
    records: range,
    workers: int = 0,
    on_error: OnError = "fail",
    progress_bar: bool = False,
) -> NDArray[np.uint32]:
    """Count the tokens of some records of a source.

    Media are decoded and processed only where their encoder takes signals of several lengths.

    Args:
        source: The records.
        encoder: Counts.
        records: Indices of the records.
        workers: Processes that count; 0 counts in this one.
        on_error: Whether a broken record is an error, or has the length 0.
        progress_bar: Whether to draw a progress bar on stderr.

    Returns:
        ``[records]``.

    Raises:
        DataError: A record is broken, or a worker was killed.
    """
    chunks = [records[first : first + _CHUNK] for first in range(0, len(records), _CHUNK)]
    loader = make_loader(_Measured(source, encoder, on_error), chunks, workers)
    lengths = np.empty(len(records), dtype=np.uint32)
    done = 0
    with tqdm(total=len(records), desc="measuring lengths", unit="record", disable=not progress_bar) as bar:
        for payload in iterate(loader):
            measured = payload.content()
            lengths[done : done + len(measured)] = measured
            done += len(measured)
            bar.update(len(measured))
    return lengths


def refuse_longer(source: Source[Any], lengths: NDArray[np.uint32], limit: int) -> None:
    """Refuse a source that holds a conversation of more than ``limit`` tokens.

    Raises:
        DataError: It does; names the first one.
    """
    longer = np.flatnonzero(lengths > limit)
    if len(longer):
        raise DataError(
            f"{source[int(longer[0])].key}: the conversation has {lengths[longer[0]]} tokens, more than the {limit} "
            f"that a batch may hold, as have {len(longer) - 1} others",
            component="data.max_tokens_per_batch",
            hint="allow more tokens, shorten the conversations, or leave them out with `data.on_error: skip`",
        )


class _Measured(WorkerDataset):
    """Measures chunks of records in a worker."""

    def __init__(self, source: Source[Any], encoder: ConversationEncoder, on_error: OnError) -> None:
        super().__init__()
        self._source = source
        self._encoder = encoder
        self._on_error = on_error

    def __getitem__(self, records: Sequence[int]) -> Payload:
        try:
            return self.payload(np.array([self._measure(record) for record in records], dtype=np.uint32))
        except ModRWKVError as error:
            return self.payload(error)

    def _measure(self, record: int) -> int:
        try:
            return self._encoder.num_tokens(self._source[record])
        except DataError:
            if self._on_error == "fail":
                raise
            return 0
