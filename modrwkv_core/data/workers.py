"""Loader workers: processes that die with the one that trains, and what they send to it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from modrwkv_core.data.arena import ArenaGoneError, PackedObject, SharedArena, pack_arena, unpack_arena
from modrwkv_core.errors import DataError, ModRWKVError

__all__ = ["Payload", "WorkerDataset", "iterate", "make_loader"]

_KEPT_ARENAS: Final = 4
"""Of a worker. Torch asks it for a batch once it has handed over the second before, which is opened before the next."""

_PR_SET_PDEATHSIG: Final = 1


@dataclass(slots=True)
class Payload:
    """An object on its way from a worker.

    Attributes:
        packed: The object, without the bytes of its tensors.
        arena: These bytes.
    """

    packed: PackedObject
    arena: SharedArena | Tensor

    def memory(self) -> Tensor:
        """Return the bytes; the first call opens what a worker shares."""
        if isinstance(self.arena, SharedArena):
            self.arena = self.arena.tensor()
        return self.arena

    def pin_memory(self) -> Payload:
        """Copy the bytes to pinned memory; torch's thread for that calls it."""
        return Payload(self.packed, self.memory().pin_memory())

    def content(self) -> Any:
        """Return the object, whose tensors are views of the memory.

        Raises:
            ModRWKVError: It is this error.
        """
        content = unpack_arena(self.packed, self.memory())
        if isinstance(content, ModRWKVError):
            try:
                raise content
            finally:
                # The traceback knows this frame; a cycle would keep idle workers until some later collection.
                del content
        return content


class WorkerDataset(Dataset[Payload]):
    """What workers make.

    Its tensors lie in one arena, because torch would otherwise spend a shared-memory file on every tensor, of which
    containers and ``ulimit -n`` allow few.
    """

    def __init__(self) -> None:
        self._shared: deque[SharedArena] = deque(maxlen=_KEPT_ARENAS)

    def payload(self, content: object) -> Payload:
        """Pack an object; users' errors travel as values, because torch would rewrite their messages."""
        if get_worker_info() is None:
            return Payload(*pack_arena(content, partial(torch.empty, dtype=torch.uint8)))

        def allocate(size: int) -> Tensor:
            self._shared.append(SharedArena(size))
            return self._shared[-1].tensor()

        packed, _ = pack_arena(content, allocate)
        return Payload(packed, self._shared[-1])


def make_loader(
    dataset: WorkerDataset, indices: Iterable[Any], workers: int, *, pin_memory: bool = False
) -> DataLoader[Payload]:
    """Let workers make an item of ``dataset`` for each of ``indices``; without workers, this process does."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin_memory,
        worker_init_fn=_begin_worker,
        # Iterating draws a seed; from the global generator, that would make a resumed run differ.
        generator=torch.Generator(),
    )


def iterate(loader: DataLoader[Payload]) -> Iterator[Payload]:
    """Yield what the workers of a loader made; they end with the iteration.

    Raises:
        DataError: A worker was killed.
    """
    # Torch's own handler would raise wherever the main thread is when a worker dies, even within an optimizer's
    # step; the iterator finds out, too, when it waits for a batch.
    handler = signal.getsignal(signal.SIGCHLD)
    with _explained_deaths():
        iterator = iter(loader)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if handler is None else handler)
    while True:
        with _explained_deaths():
            payload: Payload | None = next(iterator, None)
        if payload is None:
            return
        with _explained_deaths():
            payload.memory()
        yield payload


@contextlib.contextmanager
def _explained_deaths() -> Iterator[None]:
    """Turn torch's report of a killed worker into an error with a hint."""
    try:
        yield
    except ArenaGoneError as error:
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


def _begin_worker(_worker: int) -> None:
    """Let a worker die with the process that trains, and leave signals and garbage to that process."""
    # A forked worker inherits the garbage of the process that trains, and must not collect it: the iterator of an
    # earlier loader would wait for workers that are not its own.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(AttributeError, OSError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if (parent := multiprocessing.parent_process()) is not None:
        # Where a fork server forks workers, they are not children of the process that trains; and where that process
        # forks them, later ones hold the earlier ones' end of the pipe that is waited for here.
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _identity(payload: Any) -> Any:
    return payload
