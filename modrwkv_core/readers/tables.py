"""Tables of measurements in text files: one row for each moment, one column for each channel.

The rules are strict where a guess could change numbers. A table is read only if one way to read it fits; where several
do, an error names the option that decides.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.readers.clock import TIME_COLUMNS, find_clock
from modrwkv_core.readers.dates import is_date, is_time_of_day
from modrwkv_core.readers.files import byte_limit, read_media
from modrwkv_core.readers.parquet import PARQUET_MAGIC, table_from_parquet
from modrwkv_core.readers.table import MISSING_HINT, Table, TableOptions

__all__ = ["read_table", "table_from_bytes"]

MISSING: Final = frozenset({"", "-", "?", "n/a", "na", "nan", "none", "null"})
"""What tables write for a measurement that is not there."""

_SEPARATORS: Final = {"a comma": ",", "a semicolon": ";", "a tab": "\t", "a bar": "|"}
_NO_SEPARATOR: Final = "\x1f"
_SAMPLE: Final = 100
"""Rows on which the ways to read a table are tried."""

_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_NUMBER: Final = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")


def read_table(media: str | Path | bytes, options: TableOptions | None = None) -> Table:
    """Read a table from a path, a data URI or the bytes of a file: text, plain or packed by gzip, or Parquet.

    Rows are sorted by the time column. Steps that differ are named in a warning.

    Raises:
        DataError: The file cannot be read; it is not a table of numbers with rows of equal length; a measurement is
            missing; a heading or a moment comes twice; or it can be read in several ways.
    """
    return table_from_bytes(*read_media(media), options or TableOptions())


def table_from_bytes(content: bytes, origin: str, options: TableOptions | None = None) -> Table:
    """Read a table from the ``content`` of a file; see :func:`read_table`."""
    options = options or TableOptions()
    if content.startswith(PARQUET_MAGIC):
        return table_from_parquet(content, origin, options)
    text = _text(content, origin)
    if text.lstrip()[:1] in ("{", "["):
        raise DataError(f"{origin} is JSON, not a table of comma-separated values", hint="write it as CSV")
    if not text.strip():
        raise DataError(f"{origin} is empty", hint="a series needs at least one row of numbers")
    try:
        return _Reading(text, origin, options, _separator(text, origin, options)).table()
    except csv.Error as error:
        raise DataError(f"{origin} is not a CSV file: {error}", hint="save it as comma-separated UTF-8 text") from error


def _text(content: bytes, origin: str) -> str:
    if content.startswith(b"\x1f\x8b"):
        unpacker, limit = zlib.decompressobj(wbits=31), byte_limit()
        try:
            content, packed = unpacker.decompress(content, limit), content
        except zlib.error as error:
            raise DataError(f"cannot read {origin}: {error}", hint="pack it anew") from error
        if not unpacker.eof:
            raise DataError(
                f"cannot read {origin}: its {len(packed):,} bytes are truncated or hold more than {limit:,}",
                hint="pack it anew, or unpack it",
            )
        if unpacker.unused_data.strip(b"\0"):
            raise DataError(f"cannot read {origin}: more follows the packed table", hint="unpack it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{origin} is not a CSV file: {error}", hint="save it as comma-separated UTF-8 text, or with numpy.save"
        ) from error


def _separator(text: str, origin: str, options: TableOptions) -> str:
    """Return the one separator with which the first rows are a table."""
    if options.separator is not None:
        return "\t" if options.separator == "tab" else options.separator
    first = next(line for line in text.splitlines() if line.strip())
    candidates = {name: mark for name, mark in _SEPARATORS.items() if mark in first}
    if options.decimal == ",":
        candidates.pop("a comma", None)
    candidates["nothing"] = _NO_SEPARATOR
    fitting: dict[str, str] = {}
    errors: list[DataError] = []
    for name, mark in candidates.items():
        try:
            names = _Reading(text, origin, options, mark, sample=True).table().names
            fitting[f"{len(names)} columns with {name} between them" if mark != _NO_SEPARATOR else "one column"] = mark
        except (DataError, csv.Error) as error:
            errors.append(error if isinstance(error, DataError) else _not_csv(origin, error))
    if not fitting:
        raise errors[0]
    if len(fitting) > 1:
        raise DataError(
            f"{origin} can be read in several ways: as {', or as '.join(fitting)}",
            hint="give the columns a heading, or set `separator` and `decimal`",
        )
    return next(iter(fitting.values()))


def _not_csv(origin: str, error: csv.Error) -> DataError:
    return DataError(f"{origin} is not a CSV file: {error}", hint="save it as comma-separated UTF-8 text")


class _Reading:
    """One way to read a table.

    Args:
        text: The whole file.
        origin: Its name, for messages.
        options: What the user says about it.
        separator: Between columns.
        sample: Read the first rows only, for the sake of errors.
    """

    def __init__(self, text: str, origin: str, options: TableOptions, separator: str, sample: bool = False) -> None:
        self._origin = origin
        self._options = options
        self._separator = separator
        self._sample = sample
        self._text = text
        head = list(islice(self._rows(), _SAMPLE))
        if not head:
            raise DataError(f"{origin} holds no measurements", hint="a series needs at least one row of numbers")
        first = [cell.strip() for cell in head[0][1]]
        listed = (*(options.columns or ()), *((options.time_column,) if options.time_column else ()))
        self.headed = any(_is_word(cell) for cell in first) or bool(listed and set(listed) <= set(first))
        self._heading = first if self.headed else [str(column) for column in range(1, len(first) + 1)]
        if separator == _NO_SEPARATOR and self.headed and any(mark in first[0] for mark in _SEPARATORS.values()):
            raise DataError(
                f"{origin} is not a table: its first line is {first[0][:60]!r}",
                hint="separate columns by commas, semicolons or tabs, or set `separator`",
            )
        head = head[1:] if self.headed else head
        if not head:
            raise DataError(f"{origin} has a heading but no rows", hint="a series needs at least one row of numbers")
        self._choose(head)
        self._decimal = options.decimal or self._find_decimal(head)

    def table(self) -> Table:
        """Read the rows.

        Raises:
            DataError: See :func:`read_table`.
        """
        rows = islice(self._rows(), _SAMPLE) if self._sample else self._rows()
        columns = [array("d") for _ in self._measured]
        clocks: list[list[str]] = [[] for _ in self._clocks]
        lines = array("Q")
        for line, row in islice(rows, 1 if self.headed else 0, None):
            self._check_width(line, row)
            for numbers, column in zip(columns, self._measured, strict=True):
                numbers.append(self._measurement(row[column].strip(), line, column))
            for cells, column in zip(clocks, self._clocks, strict=True):
                cells.append(row[column])
            lines.append(line)
        values = np.array(columns, dtype=np.float64).T
        clock = None
        if not self._sample:
            named = [(self._heading[column], cells) for column, cells in zip(self._clocks, clocks, strict=True)]
            clock = find_clock(named, lines, self._origin, self._options.time_column)
        names = tuple(self._heading[column] for column in self._measured)
        return Table(names, values if clock is None else values[clock.order], self.headed, clock)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield rows with the number of their last line, without blank ones at the begin and the end.

        In a table of one column, a blank line between others is a missing measurement.
        """
        reader = csv.reader(io.StringIO(self._text), delimiter=self._separator, skipinitialspace=True, strict=True)
        blank: list[tuple[int, list[str]]] = []
        begun = False
        for row in reader:
            numbered = (reader.line_num, row or [""])
            if any(cell.strip() for cell in row):
                yield from (item for item in blank if begun and (len(row) == 1 or len(item[1]) > 1))
                blank, begun = [], True
                yield numbered
            else:
                blank.append(numbered)

    def _check_width(self, line: int, row: Sequence[str]) -> None:
        if len(row) != len(self._heading):
            raise DataError(
                f"{self._origin}, line {line} has {len(row)} columns where the first line has {len(self._heading)}",
                hint="separate columns by commas and write decimals with points, or set `separator` and `decimal`",
            )

    def _choose(self, head: Sequence[tuple[int, list[str]]]) -> None:
        """Choose the columns that are measured, and those that tell the time."""
        for line, row in head:
            self._check_width(line, row)
        options, heading = self._options, self._heading
        wanted = (*(options.columns or ()), *((options.time_column,) if options.time_column else ()))
        if absent := [name for name in wanted if name not in heading]:
            raise DataError(f"{self._origin} has no column {', '.join(absent)}", hint=f"it has: {', '.join(heading)}")
        double = sorted({name for name in heading if name and heading.count(name) > 1})
        if double and (options.columns is None or set(double) & set(wanted)):
            raise DataError(
                f"{self._origin} has several columns named {', '.join(double)}", hint="give each column its own name"
            )
        timed = [column for column in range(len(heading)) if self._tells_time(column, head)]
        chosen = [heading.index(name) for name in options.columns] if options.columns is not None else None
        self._measured = chosen or [column for column in range(len(heading)) if column not in timed]
        self._clocks = [column for column in timed if column not in self._measured]
        if not self._measured:
            raise DataError(
                f"{self._origin} has no column of numbers", hint="columns of dates and times are not measurements"
            )

    def _tells_time(self, column: int, head: Sequence[tuple[int, list[str]]]) -> bool:
        name = self._heading[column]
        if name == self._options.time_column:
            return True
        if not name:
            if column and any(row[column].strip() for _, row in head):
                raise DataError(f"{self._origin}: column {column + 1} has no heading", hint="give it one")
            return True
        known = next((cell for _, row in head if (cell := row[column].strip()).lower() not in MISSING), "")
        return (self.headed and name.lower() in TIME_COLUMNS) or is_date(known) or is_time_of_day(known)

    def _find_decimal(self, head: Sequence[tuple[int, list[str]]]) -> str:
        cells = [row[column].strip() for _, row in head for column in self._measured]
        commas = [cell for cell in cells if "," in cell]
        if not commas or any("." in cell for cell in cells):
            return "."
        if all(_THOUSANDS.fullmatch(cell) for cell in commas):
            raise DataError(
                f"{self._origin} holds {commas[0]!r}, which has a decimal comma or marks thousands",
                hint="set `decimal` to ',', or write large numbers without marks",
            )
        return ","

    def _measurement(self, cell: str, line: int, column: int) -> float:
        number = _number(cell, self._decimal)
        if math.isfinite(number):
            return number
        found = f"holds {cell!r}, which is not a finite number" if cell else "is empty"
        if cell.lower() in MISSING or _is_number(cell):
            hint = MISSING_HINT
        else:
            hint = "name the columns to read in `columns`, or correct the cell"
        if "," in cell or ";" in cell:
            hint = "write decimals with points and large numbers without marks, or set `separator` and `decimal`"
        raise DataError(
            f"{self._origin}, line {line}, column {self._heading[column]!r} {found}",
            hint=hint,
        )


def _number(cell: str, decimal: str) -> float:
    """Return the number that ``cell`` spells, NaN if none."""
    if not _NUMBER.fullmatch(cell) or ("." if decimal == "," else ",") in cell:
        return math.nan
    return float(cell.replace(",", "."))


def _is_number(cell: str) -> bool:
    if _NUMBER.fullmatch(cell) or _THOUSANDS.fullmatch(cell):
        return True
    try:
        float(cell)  # inf, and whatever else Python spells so
    except ValueError:
        return False
    return True


def _is_word(cell: str) -> bool:
    """Tell whether ``cell`` can only be a heading: neither a measurement, nor a missing one, nor a time."""
    return not (_is_number(cell) or cell.lower() in MISSING or is_date(cell) or is_time_of_day(cell))
