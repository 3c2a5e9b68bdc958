"""TimeSeries: tables, NumPy files and arrays to measurements at equal time steps."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.finite import check_finite
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.readers.arrays import NUMPY_MAGIC, array_from_bytes
from modrwkv_core.readers.files import read_media
from modrwkv_core.readers.table import MISSING_HINT
from modrwkv_core.readers.tables import table_from_bytes

__all__ = ["SeriesModality"]

SHAPE_HINT: Final = "give numbers as an array [points, channels], or [points] for one channel"


class SeriesModality(Modality[TimeSeries]):
    """Decodes CSV, Parquet and NumPy files, their bytes, arrays and lists.

    A table has one row for each point and one column for each channel, see
    :func:`~modrwkv_core.readers.tables.read_table`. Arrays are ``[points, channels]``, or ``[points]`` for one channel.
    Time steps are taken to be equal.
    """

    def decode(self, media: str | Path | bytes | ArrayLike | TimeSeries) -> TimeSeries:
        """Decode ``media`` to ``[points, channels]``, float32, in the units of the input.

        Raises:
            DataError: The file is missing, empty or no table of numbers; there are no points; values are NaN or
                infinite; the spread of a signal is not one finite number for each channel, 0 or above. The message
                names the file, and the row and column where there is one.
        """
        if isinstance(media, TimeSeries):
            values = _from_array(media.values, "the series").values
            return TimeSeries(values, None if media.spread is None else _spread(media.spread, values.shape[1]))
        if isinstance(media, str | Path | bytes):
            content, name = read_media(media)
            if content.startswith(NUMPY_MAGIC):
                return _from_array(array_from_bytes(content, name), name)
            return _from_array(table_from_bytes(content, name).values, name)
        return _from_array(media, "the given array")

    def examples(self) -> list[TimeSeries]:
        """Return random walks of 32, 57 and 100 points in one channel."""
        generator = np.random.default_rng(0)
        return [
            TimeSeries(generator.normal(size=(points, 1)).cumsum(axis=0).astype(np.float32)) for points in (32, 57, 100)
        ]


def _spread(spread: ArrayLike, channels: int) -> NDArray[np.float32]:
    deviations = np.asarray(spread, dtype=np.float32)
    if deviations.shape != (channels,) or not (np.isfinite(deviations) & (deviations >= 0)).all():
        raise DataError(
            f"the spread of a series of {channels} channels is {deviations.tolist()}",
            hint="give one standard deviation for each channel",
        )
    return deviations


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
    check_finite(numbers, f"{origin} holds", ("point", "channel"), hint=MISSING_HINT)
    return TimeSeries(numbers)
