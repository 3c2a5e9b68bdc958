"""Files, bytes and data URIs of media, with a name for error messages, and limits of what is read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, Final

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import decode_base64, media_path

__all__ = ["byte_limit", "cache_folder", "limit_from_environment", "read_media"]

MAX_BYTES: Final = 2**31
"""Bytes above which a file is refused unless told otherwise."""

CACHE_VARIABLE: Final = "MODRWKV_CACHE"
"""Environment variable that names the folder of what can be made again."""

MAX_BYTES_VARIABLE: Final = "MODRWKV_MAX_FILE_BYTES"
"""Environment variable that sets another limit."""


def limit_from_environment(variable: str, default: int) -> int:
    """Return the number that the environment variable holds, ``default`` if it is not set.

    Raises:
        DataError: It holds no whole number above zero.
    """
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise DataError(f"{variable} is {text!r}, not a whole number above 0", hint="correct or unset it")
    return int(text)


def cache_folder() -> Path:
    """Return the folder of what can be made again, which need not exist."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modrwkv"


def byte_limit() -> int:
    """Return the number of bytes above which a file is refused."""
    return limit_from_environment(MAX_BYTES_VARIABLE, MAX_BYTES)


def read_media(media: str | Path | bytes | Any) -> tuple[bytes, str]:
    """Read the bytes of a media file.

    Args:
        media: A path, a data URI (``data:image/png;base64,...``), or the bytes of a file.

    Returns:
        The bytes, never empty, and what to call them in a message.

    Raises:
        DataError: The file is missing, unreadable, empty, a device or pipe, or larger than :data:`MAX_BYTES_VARIABLE`
            allows; the data URI is malformed; or ``media`` is none of these.
    """
    if isinstance(media, bytes):
        content, name = media, "the given bytes"
    elif isinstance(media, str) and media.startswith("data:"):
        content, name = _from_data_uri(media), "the given data URI"
    elif isinstance(media, str | Path):
        if re.match(r"https?:/", str(media)):
            raise DataError(f"{media} is on the web", hint="download it and give the file")
        path = media_path(media)
        content, name = _from_file(path), str(path)
    else:
        raise DataError(f"a {type(media).__name__} is not a media file", hint="give a path or the bytes of a file")
    if not content:
        raise DataError(f"{name} is empty", hint="save it again from its source, or leave it out")
    return content, name


def _from_file(path: Path) -> bytes:
    limit = byte_limit()
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise DataError(f"cannot read {path}: Is a directory", hint="name the file in it")
        if not stat.S_ISREG(status.st_mode):  # a device or pipe may never end
            raise DataError(f"{path} is not a regular file", hint="save what it holds in a file")
        if status.st_size > limit:
            raise DataError(
                f"{path} is too large: {status.st_size:,} bytes, the limit is {limit:,}",
                hint=f"cut it into parts, or set {MAX_BYTES_VARIABLE}",
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check the path") from error


def _from_data_uri(uri: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma or not header.endswith(";base64"):
        raise DataError(f"malformed data URI {uri[:40]!r}", hint="write data:<media type>;base64,<data>")
    return decode_base64(payload)
