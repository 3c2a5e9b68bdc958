"""Other work for an engine's thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["Calls"]

ResultT = TypeVar("ResultT")


class Calls:
    """Functions that wait to be called, in order. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], None], Future[Any]]] = []

    def __bool__(self) -> bool:
        """Return whether one waits."""
        return bool(self._waiting)

    def add(self, work: Callable[[], ResultT]) -> Future[ResultT]:
        """Append a function; return what its result will be."""
        future: Future[ResultT] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # as an executor of the standard library does
                    future.set_exception(error)

        self._waiting.append((run, future))
        return future

    def pop(self) -> Callable[[], None] | None:
        """Remove the first one, and return what calls it; None if none waits."""
        return self._waiting.pop(0)[0] if self._waiting else None

    def end(self, failure: Exception | None) -> None:
        """Call none that waits: each fails with ``failure``, or is cancelled without one."""
        for _, future in self._waiting:
            if failure is None:
                future.cancel()
            elif future.set_running_or_notify_cancel():
                future.set_exception(failure)
        self._waiting.clear()
