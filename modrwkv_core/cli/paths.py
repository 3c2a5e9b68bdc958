"""Paths in typed lines, as people write them and terminals paste them."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import unquote

from modrwkv_core.errors import DataError

__all__ = ["existing_paths", "one_path"]


def existing_paths(text: str) -> list[Path]:
    """Return the files or folders that a line names: one path as it is, or several as in a shell.

    A path may have quotes, backslashes before spaces, a leading ``~`` or ``file://``: terminals paste a file that is
    dropped on them in one of these ways.

    Raises:
        DataError: One of them does not exist.
    """
    whole = _path(text)
    if _exists(whole):
        return [whole]
    paths = [_path(word) for word in _words(text)]
    for path in paths:
        if not _exists(path):
            raise DataError(f"there is no file {path}", hint="put a path with spaces in quotes")
    return paths


def one_path(text: str) -> Path:
    """Return the one path that a line names, whether it exists or not; see :func:`existing_paths`."""
    words = _words(text)
    return _path(words[0] if len(words) == 1 else text)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # an apostrophe, which is no quote
        return [text]


def _path(text: str) -> Path:
    scheme = "file://"
    path = Path(unquote(text.removeprefix(scheme)) if text.startswith(scheme) else text)
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user
        return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
