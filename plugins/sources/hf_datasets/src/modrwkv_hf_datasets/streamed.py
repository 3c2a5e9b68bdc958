"""Rows of Parquet files that are fetched group by group, when they are first needed.

Parquet files hold their rows in groups, and each file says at its end where these lie. So any row can be read without
the rest of the file. Groups are kept on the disk as Arrow files that are mapped into memory, so each is fetched once,
as long as the cache holds it, whatever the order of rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import datasets
import fsspec
import numpy as np
import pyarrow
from fsspec.core import url_to_fs
from pyarrow import parquet

from modrwkv_core.errors import DataError

__all__ = ["StreamedRows"]

_THREADS: Final = 16
"""Files whose ends are read at a time."""


class StreamedRows:
    """Rows of Parquet files at any address. Picklable; connections are opened by each process for itself.

    Args:
        files: Addresses that fsspec reads.
        cache_size: Bytes of row groups that stay on the disk.

    Raises:
        DataError: A file is missing or damaged, or has other columns than the first.
    """

    def __init__(self, files: Sequence[str], cache_size: int) -> None:
        self._files = list(files)
        self._cache_size = cache_size
        with ThreadPoolExecutor(_THREADS) as pool:
            ends = list(pool.map(_read_end, self._files))
        schema = ends[0][1]
        for file, (_, other, _) in zip(self._files, ends, strict=True):
            if not other.equals(schema):
                raise DataError(
                    f"{file} has other columns than {self._files[0]}", hint="read them as sources of their own"
                )
        self.features: Mapping[str, Any] = datasets.Features.from_arrow_schema(schema)
        self._versions = [version for version, _, _ in ends]
        groups = [(file, group, rows) for file, end in enumerate(ends) for group, rows in enumerate(end[2])]
        self._groups = np.array([(file, group) for file, group, _ in groups], dtype=np.int64).reshape(-1, 2)
        self._first = np.cumsum([0, *(rows for _, _, rows in groups)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def key(self, index: int) -> str:
        """Say where a row is found."""
        place = self._place(index)
        file = int(self._groups[place, 0])
        first = int(self._first[np.searchsorted(self._groups[:, 0], file)])
        return f"{self._files[file]}: row {index - first}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = self._place(index)
        file, group = map(int, self._groups[place])
        cached = _cache_folder() / self._versions[file] / f"{group}.arrow"
        row: dict[str, Any] = self._table(file, group, cached).slice(index - int(self._first[place]), 1).to_pylist()[0]
        return row

    def _place(self, index: int) -> int:
        return int(np.searchsorted(self._first, index, side="right")) - 1

    def _table(self, file: int, group: int, cached: Path) -> pyarrow.Table:
        try:
            with pyarrow.memory_map(str(cached)) as mapped:
                os.utime(cached)  # the least recently used make room
                return pyarrow.ipc.open_file(mapped).read_all()
        except (FileNotFoundError, pyarrow.ArrowInvalid):  # not there yet, just removed, or damaged
            table = _fetch(self._files[file], group)
            _store(table, cached, self._cache_size)
            return table


def _cache_folder() -> Path:
    return Path(datasets.config.HF_DATASETS_CACHE) / "modrwkv_row_groups"


def _read_end(url: str) -> tuple[str, pyarrow.Schema, list[int]]:
    """Return a name for the file's version, its schema, and the rows of each of its groups."""
    try:
        system, path = url_to_fs(url)
        version = hashlib.sha256(f"{url} {system.ukey(path)}".encode()).hexdigest()
        with system.open(path) as content:
            file = parquet.ParquetFile(content)
            rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            return version, file.schema_arrow, rows
    except Exception as error:  # file systems of many kinds fail in many ways
        raise _unreadable(url, error) from error


def _fetch(url: str, group: int) -> pyarrow.Table:
    try:
        with fsspec.open(url) as content:
            return parquet.ParquetFile(content, pre_buffer=True).read_row_group(group)
    except Exception as error:  # file systems of many kinds fail in many ways
        raise _unreadable(f"{url}, group {group}", error) from error


def _unreadable(what: str, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return DataError(f"cannot read {what}: {reason}", hint="check the address, the network and the permissions")


def _store(table: pyarrow.Table, cached: Path, limit: int) -> None:
    temporary = cached.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with pyarrow.OSFile(str(temporary), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        temporary.replace(cached)
        _make_room(cached, limit)
    except OSError as error:
        raise DataError(f"cannot write {cached}: {error}", hint="check free space, or set HF_DATASETS_CACHE") from error
    finally:
        temporary.unlink(missing_ok=True)


def _make_room(kept: Path, limit: int) -> None:
    """Remove the least recently used groups until the others, ``kept`` among them, fit."""
    used: list[tuple[float, int, Path]] = []
    for path in _cache_folder().glob("*/*.arrow"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            status = path.stat()
            used.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in used)
    for _, size, path in sorted(used):
        if total <= limit:
            return
        if path != kept:
            path.unlink(missing_ok=True)
            total -= size
