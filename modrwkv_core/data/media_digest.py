"""The content of a medium as a digest, by which it is known again."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from modrwkv_core.interfaces.modality import media_path

__all__ = ["DIGEST_SIZE", "media_digest"]

DIGEST_SIZE: Final = 32
"""Bytes of a digest."""


def media_digest(media: Any, key: bytes) -> str | None:
    """Return the digest of ``key`` and of a medium as a record holds it: a path, bytes, an array, or a signal.

    Returns:
        BLAKE2b in hexadecimal digits; None if its content cannot be told.
    """
    digest = hashlib.blake2b(key, digest_size=DIGEST_SIZE)
    return digest.hexdigest() if _feed(digest, media) else None


def _feed(digest: hashlib.blake2b, media: Any) -> bool:
    """Hash ``media``; return whether its content can be told."""
    digest.update(f"|{type(media).__qualname__}|".encode())
    if isinstance(media, Path) or (isinstance(media, str) and not media.startswith("data:")):
        return _feed_file(digest, media_path(media))
    if isinstance(media, np.ndarray) and media.dtype != object:
        digest.update(f"{media.dtype.str}{media.shape}".encode())
        digest.update(np.ascontiguousarray(media).tobytes())
        return True
    if is_dataclass(media):
        return all(_feed(digest, getattr(media, field.name)) for field in fields(media))
    if isinstance(media, list | tuple):
        return all(_feed(digest, each) for each in media)
    if isinstance(media, bytes | str | int | float | None):
        digest.update(media if isinstance(media, bytes) else repr(media).encode())
        return True
    return False


def _feed_file(digest: hashlib.blake2b, path: Path) -> bool:
    digest.update(f"{path.suffix}|".encode("utf-8", "surrogateescape"))
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError:  # whoever decodes it says what is wrong
        return False
    return True
