"""Errors that say which record they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modrwkv_core.errors import DataError, ModRWKVError

__all__ = ["error_context"]


@contextmanager
def error_context(key: str) -> Iterator[None]:
    """Turn a user's error raised inside into a :class:`DataError` that begins with the record's ``key``."""
    try:
        yield
    except ModRWKVError as error:
        raise DataError(
            f"{key}: {error.message}",
            component=error.component,
            distribution=error.distribution,
            hint=error.hint,
        ) from error
