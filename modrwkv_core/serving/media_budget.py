"""The memory that decoded media take: a few bytes of a body can hold a long silence, or a large image of one color."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from modrwkv_core.serving.errors import APIError, busy
from modrwkv_core.serving.settings import Limits

__all__ = ["MediaBudget"]


class MediaBudget:
    """Counts the bytes of the media of each request, and those of all open requests. Not thread-safe.

    Args:
        limits: Of both.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open_bytes = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count for one request within a ``with`` statement; at its end, nothing of the request is left."""
        taken = _Taken()
        token = _TAKEN.set(taken)
        try:
            yield
        finally:
            _TAKEN.reset(token)
            self._open_bytes -= taken.nbytes

    def take(self, nbytes: int) -> None:
        """Count what a medium of the present request takes.

        Raises:
            APIError: The media of this request, or those of all, take too much.
        """
        taken = _TAKEN.get()
        limit = self._limits.media_bytes
        if taken.nbytes + nbytes > limit:
            raise APIError(413, f"the media take more than {limit:,} bytes of memory", code="request_too_large")
        if self._open_bytes + nbytes > self._limits.open_media_bytes:
            raise busy(self._limits.retry_after_seconds)
        taken.nbytes += nbytes
        self._open_bytes += nbytes


@dataclass(slots=True)
class _Taken:
    nbytes: int = 0


_TAKEN: ContextVar[_Taken] = ContextVar("modrwkv_media_bytes")
