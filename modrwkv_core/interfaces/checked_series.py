"""What encoders of time series do with one first: check it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.finite import check_finite
from modrwkv_core.interfaces.signals import TimeSeries

__all__ = ["checked_series"]


def checked_series(signal: TimeSeries, channels: int, min_points: int, component: str) -> NDArray[Any]:
    """Return the values ``[points, channels]`` of a series that an encoder can read.

    Args:
        signal: Of any number of points.
        channels: Those that the encoder reads.
        min_points: The fewest points that it can read.
        component: The encoder, for errors: ``encoder/wavenet``.

    Raises:
        DataError: Too few points, another number of channels, NaN or infinite values.
    """
    values = signal.values
    points, found = values.shape
    if found != channels:
        raise DataError(
            f"the series has {found} channels, the encoder reads {channels}",
            component=component,
            hint=f"give columns that the model was trained on, or train with `channels: {found}`",
        )
    if points < min_points:
        raise DataError(
            f"the series has {points} points, the encoder needs at least {min_points}",
            component=component,
            hint="give a longer window",
        )
    check_finite(
        values,
        "the series holds",
        ("point", "channel"),
        hint="fill or cut out missing measurements first",
        component=component,
    )
    return values
