"""What encoders of feature frames do with them first: check, and bring to one scale."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.finite import check_finite
from modrwkv_core.interfaces.signals import FeatureFrames

__all__ = ["checked_frames", "standardized"]

RESOLUTION: Final = 1e-6
"""Variation below this share of the largest value is rounding of float32, not signal."""


def checked_frames(signal: FeatureFrames, dims: int, component: str) -> NDArray[Any]:
    """Return the frames ``[frames, dims]`` of a signal that an encoder can read.

    Args:
        signal: Of any number of frames.
        dims: Those that the encoder reads.
        component: The encoder, for errors: ``encoder/features``.

    Raises:
        DataError: No frames, another number of dims, NaN or infinite values.
    """
    values = signal.values
    frames, found = values.shape
    if not frames:
        raise DataError("the features have no frames", component=component, hint="leave them out")
    if found != dims:
        raise DataError(
            f"a frame has {found} dims, the encoder reads {dims}",
            component=component,
            hint=f"give the features that the model was trained on, or train with `in_dim: {found}`",
        )
    check_finite(
        values,
        "the features hold",
        ("frame", "dim"),
        hint="correct or leave out what made them",
        component=component,
    )
    return values


def standardized(values: NDArray[Any], axis: int | None) -> NDArray[np.float32]:
    """Return values with mean 0 and deviation 1 along ``axis``, or as a whole; what is constant becomes zeros."""
    exact = values.astype(np.float64)
    mean, deviation = exact.mean(axis=axis, keepdims=True), exact.std(axis=axis, keepdims=True)
    is_signal = deviation > RESOLUTION * np.abs(exact).max(axis=axis, keepdims=True)
    result: NDArray[Any] = np.where(is_signal, exact - mean, 0.0) / np.where(is_signal, deviation, 1.0)
    return result.astype(np.float32)
