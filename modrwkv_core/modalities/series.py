"""TimeSeries: CSV files, NumPy files and arrays to measurements at equal time steps."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.modalities.files import read_media

__all__ = ["SeriesModality"]

NUMPY_MAGIC: Final = b"\x93NUMPY"

TIME_COLUMNS: Final = frozenset({"", "date", "datetime", "ds", "index", "time", "timestamp"})
"""Headings of columns that hold no measurements; a table saved with its row numbers has an empty heading."""

TIME_STAMP: Final = re.compile(
    r"""
    \d{1,4} [-/.] \d{1,2} [-/.] \d{1,4} (?: [T\s] .* )?     # 2016-07-01 00:00:00, 1990/1/1 0:00, 31.12.2020
    | \d{1,2} : \d{2} (?: : \d{2} (?: \.\d+ )? )?           # 17:45, 17:45:30.25
    """,
    re.VERBOSE,
)

MISSING: Final = frozenset({"", "-", "?", "n/a", "na", "nan", "none", "null"})
"""What tables write for a measurement that is not there."""

MISSING_HINT: Final = "fill or cut out missing measurements first"
SHAPE_HINT: Final = "give numbers as an array [points, channels], or [points] for one channel"


class SeriesModality(Modality[TimeSeries]):
    """Decodes CSV and NumPy files, their bytes, arrays and lists.

    A CSV file has one row for each point and one column for each channel, separated by commas. A heading is optional.
    Columns of dates or times, and columns whose heading says that they are (or is empty: row numbers), are skipped.
    Arrays are ``[points, channels]``, or ``[points]`` for one channel. Time steps are taken to be equal.
    """

    def decode(self, media: str | Path | bytes | ArrayLike | TimeSeries) -> TimeSeries:
        """Decode ``media`` to ``[points, channels]``, float32, in the units of the input.

        Raises:
            DataError: The file is missing, empty or no table of numbers; there are no points; values are NaN or
                infinite. The message names the file, and the row and column where there is one.
        """
        if isinstance(media, TimeSeries):
            return _from_array(media.values, "the series")
        if isinstance(media, str | Path | bytes):
            content, name = read_media(media)
            return _from_numpy(content, name) if content.startswith(NUMPY_MAGIC) else _from_csv(content, name)
        return _from_array(media, "the given array")

    def examples(self) -> list[TimeSeries]:
        """Return random walks of 32, 57 and 100 points in one channel."""
        generator = np.random.default_rng(0)
        return [
            TimeSeries(generator.normal(size=(points, 1)).cumsum(axis=0).astype(np.float32)) for points in (32, 57, 100)
        ]


def _from_numpy(content: bytes, origin: str) -> TimeSeries:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # a damaged header trips NumPy's parser in many ways, and asks for any amount of memory
        raise DataError(f"{origin} is a damaged NumPy file: {error}", hint="write it anew with numpy.save") from error
    return _from_array(array, origin)


def _from_csv(content: bytes, origin: str) -> TimeSeries:
    try:
        rows = _numbered_rows(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{origin} is not a CSV file: {error}", hint="save it as comma-separated UTF-8 text, or with numpy.save"
        ) from error
    return _from_table([(line, row) for line, row in rows if any(cell.strip() for cell in row)], origin)


def _numbered_rows(text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    return [(reader.line_num, row) for row in reader]


def _from_table(rows: list[tuple[int, list[str]]], origin: str) -> TimeSeries:
    if not rows:
        raise DataError(f"{origin} is empty", hint="a series needs at least one row of numbers")
    first = [cell.strip() for cell in rows[0][1]]
    if any(_is_word(cell) for cell in first):
        heading, rows = first, rows[1:]
        if not rows:
            raise DataError(f"{origin} has a heading but no rows", hint="a series needs at least one row of numbers")
    else:
        heading = [str(column) for column in range(1, len(first) + 1)]
    for line, row in rows:
        if len(row) != len(heading):
            raise DataError(
                f"{origin}, line {line} has {len(row)} columns where the first line has {len(heading)}",
                hint="separate columns by commas and write decimals with points",
            )
    measured = [
        column
        for column, name in enumerate(heading)
        if name.lower() not in TIME_COLUMNS and not _is_time(rows[0][1][column].strip())
    ]
    if not measured:
        raise DataError(f"{origin} has no column of numbers", hint="columns of dates and times are not measurements")
    values = np.array([[_number(row[column]) for column in measured] for _, row in rows])
    if not np.isfinite(values).all():
        point, channel = np.argwhere(~np.isfinite(values))[0]
        (line, row), column = rows[point], measured[channel]
        found = f"holds {row[column]!r}, which is not a finite number" if row[column].strip() else "is empty"
        raise DataError(f"{origin}, line {line}, column {heading[column]!r} {found}", hint=MISSING_HINT)
    return _from_array(values, origin)


def _number(cell: str) -> float:
    """Return the number that ``cell`` spells, NaN if none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _is_time(cell: str) -> bool:
    return TIME_STAMP.fullmatch(cell) is not None


def _is_word(cell: str) -> bool:
    """Tell whether ``cell`` can only be a heading: neither a measurement, nor a missing one, nor a time."""
    return math.isnan(_number(cell)) and not _is_time(cell) and cell.lower() not in MISSING


def _from_array(array: ArrayLike, origin: str) -> TimeSeries:
    """Check ``array`` and make it ``[points, channels]``."""
    try:
        values = np.asarray(array)
    except ValueError as error:
        raise DataError(f"{origin} is not an array: {error}", hint=SHAPE_HINT) from error
    if values.size == 0:
        raise DataError(f"{origin} has no points", hint="a series needs at least one point")
    if values.dtype.kind not in "fiu":
        raise DataError(f"{origin} holds values of type {values.dtype}, not numbers", hint=SHAPE_HINT)
    if values.ndim not in (1, 2):
        raise DataError(f"{origin} has the shape {list(values.shape)}", hint=SHAPE_HINT)
    with np.errstate(over="ignore"):
        numbers = values.reshape(len(values), -1).astype(np.float32, copy=False)
    if not np.isfinite(numbers).all():
        point, channel = np.argwhere(~np.isfinite(numbers))[0]
        raise DataError(
            f"{origin} holds {numbers[point, channel]} at point {point} of channel {channel}", hint=MISSING_HINT
        )
    return TimeSeries(numbers)
