"""NumPy files: one array in ``.npy`` or ``.npz``. Pickled objects are never loaded."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.readers.files import byte_limit, read_media

__all__ = ["NUMPY_MAGIC", "ZIP_MAGIC", "array_from_bytes", "read_array"]

NUMPY_MAGIC: Final = b"\x93NUMPY"

ZIP_MAGIC: Final = b"PK\x03\x04"
"""How an ``.npz`` file begins."""

_AGAIN: Final = "write it anew with numpy.save"


def read_array(path: Path) -> NDArray[Any]:
    """Read the one array of an ``.npy`` or ``.npz`` file; an ``.npy`` file is mapped into memory, read-only.

    Raises:
        DataError: The file cannot be read, is damaged, or holds several arrays or Python objects.
    """
    if not (path.is_file() and _begins_with(path, NUMPY_MAGIC)):
        return array_from_bytes(*read_media(path))
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # see array_from_bytes
        raise _damaged(str(path), error) from error
    if mapped.offset + mapped.nbytes != path.stat().st_size:
        raise _several(str(path))
    return mapped


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def array_from_bytes(content: bytes, origin: str) -> NDArray[Any]:
    """Read the one array of the ``content`` of an ``.npy`` or ``.npz`` file.

    Args:
        content: The file.
        origin: Its name, for messages.

    Raises:
        DataError: It is not such a file, is damaged, or holds several arrays or Python objects.
    """
    if content.startswith(ZIP_MAGIC):
        return array_from_bytes(*_only_member(content, origin))
    if not content.startswith(NUMPY_MAGIC):
        raise DataError(f"{origin} is not a NumPy file", hint="write it with numpy.save or numpy.savez")
    file = io.BytesIO(content)
    try:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    except Exception as error:  # a damaged header trips NumPy's parser in many ways, and asks for any amount of memory
        raise _damaged(origin, error) from error
    if file.read(1):
        raise _several(origin)
    return array


def _only_member(content: bytes, origin: str) -> tuple[bytes, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) != 1:
                names = ", ".join(member.filename.removesuffix(".npy") for member in members) or "none"
                raise DataError(
                    f"{origin} holds {len(members)} arrays: {names}", hint="save the one to read in a file of its own"
                )
            if members[0].file_size > byte_limit():
                raise DataError(
                    f"{origin} is too large: {members[0].file_size:,} bytes, the limit is {byte_limit():,}",
                    hint="cut it into parts",
                )
            with archive.open(members[0]) as file:
                array = file.read(members[0].file_size)
                if file.read(1):
                    raise zipfile.BadZipFile("it is longer than the archive says")
    except DataError:
        raise
    except Exception as error:  # damaged archives trip zipfile and its unpackers in many ways
        raise _damaged(origin, error) from error
    if not array.startswith(NUMPY_MAGIC):
        raise DataError(f"{origin} is not a NumPy file but another zip archive", hint=_AGAIN)
    return array, origin


def _several(origin: str) -> DataError:
    return DataError(f"{origin} holds more than one array", hint="save each in a file of its own")


def _damaged(origin: str, error: Exception) -> DataError:
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return DataError(
            f"{origin} holds Python objects, which are never unpickled", hint="save an array of numbers of one type"
        )
    return DataError(f"{origin} is a damaged NumPy file: {error}", hint=_AGAIN)
