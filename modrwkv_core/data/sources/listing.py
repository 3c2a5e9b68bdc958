"""Lists of files with what belongs to each: tables below a header, and JSON Lines."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.line_index import line_spans
from modrwkv_core.errors import DataError
from modrwkv_core.readers.files import read_media

__all__ = ["Listing", "take_text"]


class Listing:
    """The rows of a list, by the names of their columns. Picklable.

    Args:
        path: Tab- or comma-separated values with a header (``.tsv``, ``.csv``), or JSON Lines.
        where: Columns and the values that rows must have in them; other rows are passed over.
        rows: Which of the rows that are left: the first, counted from 0, and the one after the last. None: all.

    Raises:
        DataError: The list cannot be read, lacks a column of ``where``, has no such row, or fewer than ``rows`` wants.
    """

    def __init__(self, path: Path, where: Mapping[str, str], rows: tuple[int, int] | None = None) -> None:
        readers: dict[str, Callable[[Path], _Table]] = {".tsv": _TsvTable, ".csv": _CsvTable}
        self._table: _Table = readers.get(path.suffix.lower(), JsonRecords)(path)
        self._rows: Sequence[int] = range(len(self._table))
        if where:
            self._rows = array("Q", (row for row in self._rows if self._fits(row, where)))
            if not len(self._rows):
                wanted = ", ".join(f"{column} {value!r}" for column, value in where.items())
                raise DataError(f"{path} has no row with {wanted}", hint="correct `where`")
        if rows is not None:
            if rows[1] > len(self._rows):
                raise DataError(f"{path} has {len(self._rows)} such rows, `rows` ends at {rows[1]}")
            self._rows = self._rows[slice(*rows)]

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        """Name a row as ``file:line``."""
        return self._table.key(self._rows[index])

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._table[self._rows[index]]

    def _fits(self, row: int, where: Mapping[str, str]) -> bool:
        fields = self._table[row]
        for column, value in where.items():
            if column not in fields:
                raise DataError(
                    f"{self._table.key(row)}: has no '{column}', only: {', '.join(fields)}",
                    hint="name the right columns in `where`",
                )
            if str(fields[column]) != value:
                return False
        return True


def take_text(row: Mapping[str, Any], column: str) -> str:
    """Return the text in a ``column`` of ``row``.

    Raises:
        DataError: There is none.
    """
    value = row.get(column)
    if not isinstance(value, str):
        raise DataError(
            f"has no text '{column}', only: {', '.join(row)}", hint="name the right columns in the manifest"
        )
    return value


class _Table(Protocol):
    """Rows with the names of their fields."""

    def __len__(self) -> int: ...

    def key(self, index: int) -> str: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class _CsvTable:
    """Rows of comma-separated values below a header, as in the ``metadata.csv`` of Hugging Face's audio folders."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            reader = csv.reader(io.StringIO(read_media(path)[0].decode("utf-8-sig")), strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path} is not a CSV file: {error}", hint="save it as comma-separated UTF-8 text"
            ) from error
        self._columns = rows[0][1] if rows else []
        self._rows = rows[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        return f"{self._path}:{self._rows[index][0]}"

    def __getitem__(self, index: int) -> dict[str, str]:
        return _named(self._columns, self._rows[index][1], self.key(index))


class _TsvTable:
    """Rows of tab-separated values below a header, without quoting."""

    def __init__(self, path: Path) -> None:
        self._lines = line_spans(path)
        self._columns = self._lines[0].split("\t")

    def __len__(self) -> int:
        return len(self._lines) - 1

    def key(self, index: int) -> str:
        return self._lines.key(index + 1)

    def __getitem__(self, index: int) -> dict[str, str]:
        fields = self._lines[index + 1].split("\t")
        return _named(self._columns, fields, self.key(index))


def _named(columns: Sequence[str], fields: Sequence[str], key: str) -> dict[str, str]:
    if len(fields) != len(columns):
        raise DataError(f"{key}: {len(fields)} fields below a header of {len(columns)}")
    return dict(zip(columns, fields, strict=True))
