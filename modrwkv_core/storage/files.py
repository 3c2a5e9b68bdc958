"""Writing files: each appears whole or not at all, and none is written through a link that somebody else planted.

A temporary file with an unpredictable name is made beside the target (``O_EXCL | O_NOFOLLOW``), written, synchronized
with the disk and renamed. This module imports the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modrwkv_core.errors import WriteError

__all__ = [
    "append_line",
    "atomic_folder",
    "atomic_write",
    "sha256",
    "sync",
    "temporary_name",
    "write_json",
    "write_text",
]

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def temporary_name() -> str:
    """Return an unpredictable name for a hidden file or folder that is still being written: ``.*.partial``."""
    return f".{secrets.token_hex(8)}.partial"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file beside ``path``; what is written there replaces ``path`` in one step.

    Missing folders are made.

    Raises:
        WriteError: Writing failed; a former ``path`` is untouched.
    """
    temporary = path.with_name(temporary_name())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OSError("it exists and is not a regular file")
        os.close(os.open(temporary, _CREATE, 0o666))
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``, which becomes ``path`` in one step. Missing folders are made.

    Raises:
        WriteError: ``path`` exists, or writing failed; nothing of the attempt remains.
    """
    temporary = path.with_name(temporary_name())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.rglob("*"):
                sync(file)
            sync(temporary)
            if path.exists():
                raise OSError("it already exists")
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync(path.parent)
    except WriteError as error:  # of a file in the temporary folder, whose name says nothing to users
        raise _write_error(path, error.__cause__) from error
    except OSError as error:
        raise _write_error(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` in UTF-8; see :func:`atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; see :func:`write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append a line to ``path`` in one write.

    Raises:
        WriteError: Writing failed; the file is as before.
    """
    try:
        descriptor = os.open(path, _APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            content = (line + "\n").encode()
            if os.write(descriptor, content) != len(content):
                os.ftruncate(descriptor, size)
                raise OSError("no space left on the device")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _write_error(path, error) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until the contents of a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_error(path: Path, error: BaseException | None) -> WriteError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return WriteError(f"cannot write {path}: {reason}", hint="check the folder, its permissions and the free space")
