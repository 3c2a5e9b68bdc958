"""Reading members of a zip archive, from any process."""

from __future__ import annotations

import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from modrwkv_core.errors import DataError

__all__ = ["member_names", "read_member"]


@lru_cache(maxsize=8)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """Open an archive once in each process: forked ones must not share a position in the file."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot open the archive {path}: {error}", hint="is data_root the right folder?") from error


def member_names(path: Path) -> list[str]:
    """List the members of the archive ``path``.

    Raises:
        DataError: It is missing or damaged.
    """
    return _archive(path, os.getpid()).namelist()


def read_member(path: Path, name: str) -> bytes:
    """Return the bytes of a member of the archive ``path``.

    Raises:
        DataError: The archive or the member is missing or damaged.
    """
    try:
        return _archive(path, os.getpid()).read(name)
    except KeyError as error:
        raise DataError(f"the archive {path} has no member {name}") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name} in the archive {path} is damaged: {error}") from error
