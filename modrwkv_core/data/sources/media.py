"""Where the media of a source lie: in a folder or in a zip archive."""

from __future__ import annotations

import os
import zipfile
from functools import lru_cache
from pathlib import Path

from modrwkv_core.errors import DataError
from modrwkv_core.readers.files import byte_limit

__all__ = ["MediaStore"]


@lru_cache(maxsize=8)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """Open an archive once in each process: forked ones must not share a position in the file."""
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory trips zipfile in many ways
        raise DataError(f"cannot open the archive {path}: {error}", hint="pack it anew, as zip") from error


class MediaStore:
    """Finds media by name. Picklable.

    Args:
        root: A folder, or a zip archive.

    Raises:
        DataError: There is nothing at ``root``.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir() and not root.is_file():
            raise DataError(f"{root} does not exist", hint="media: names a folder or a zip archive in the data root")
        self.root = root

    def find(self, name: str) -> Path | bytes:
        """Return the path of a file in the folder, or the bytes of a member of the archive.

        Raises:
            DataError: The archive has no such member; or it is damaged, has a password, is packed by a method that
                Python cannot read, or is larger than a file may be.
        """
        if self.root.is_dir():
            return self.root / name
        archive = _archive(self.root, os.getpid())
        try:
            member = archive.getinfo(name)
        except KeyError as error:
            raise DataError(f"the archive {self.root} has no member {name}") from error
        where, limit = f"{name} in the archive {self.root}", byte_limit()
        if member.flag_bits & 1:
            raise DataError(f"{where} has a password", hint="pack the archive without one")
        if member.file_size > limit:
            raise DataError(f"{where} is too large: {member.file_size:,} bytes, the limit is {limit:,}")
        try:
            with archive.open(member) as file:
                content = file.read(member.file_size)
                if file.read(1):
                    raise zipfile.BadZipFile("it is longer than the archive says")
        except NotImplementedError as error:
            raise DataError(
                f"{where} cannot be unpacked: {error}", hint="pack the archive with the usual method, deflate"
            ) from error
        except Exception as error:  # damaged members trip zipfile and its unpackers in many ways
            raise DataError(f"{where} is damaged: {error}", hint="pack the archive anew") from error
        return content
