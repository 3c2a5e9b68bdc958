"""Where the media of a source lie: in a folder or in a zip archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from modrwkv_core.errors import DataError

__all__ = ["MediaStore"]


@lru_cache(maxsize=8)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """Open an archive once in each process: forked ones must not share a position in the file."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot open the archive {path}: {error}") from error


class MediaStore:
    """Finds media by name. Picklable.

    Args:
        root: A folder, or a zip archive.

    Raises:
        DataError: There is nothing at ``root``.
    """

    def __init__(self, root: Path) -> None:
        if not root.exists():
            raise DataError(f"{root} does not exist", hint="media: names a folder or a zip archive in the data root")
        self.root = root

    def find(self, name: str) -> Path | bytes:
        """Return the path of a file in the folder, or the bytes of a member of the archive.

        Raises:
            DataError: The archive has no such member, or it is damaged.
        """
        if self.root.is_dir():
            return self.root / name
        try:
            return _archive(self.root, os.getpid()).read(name)
        except KeyError as error:
            raise DataError(f"the archive {self.root} has no member {name}") from error
        except (zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{name} in the archive {self.root} is damaged: {error}") from error
