"""Ready-made features: NumPy files and arrays to feature frames."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.readers.arrays import array_from_bytes
from modrwkv_core.readers.files import read_media

__all__ = ["FeaturesModality"]

SHAPE_HINT: Final = "give numbers as an array [frames, dims]"


class FeaturesModality(Modality[FeatureFrames]):
    """Decodes NumPy files (``.npy``, or ``.npz`` with one array), their bytes, arrays and nested lists."""

    def decode(self, media: str | Path | bytes | ArrayLike | FeatureFrames) -> FeatureFrames:
        """Decode ``media`` to ``[frames, dims]``, float32.

        Raises:
            DataError: The file is missing, empty, damaged, or holds several arrays or Python objects; the array has
                another shape, no frames, or values that are NaN, infinite or too large for float32. The message names
                the file, frame and dim.
        """
        if isinstance(media, FeatureFrames):
            return _from_array(media.values, "the features")
        if isinstance(media, str | Path | bytes):
            content, name = read_media(media)
            return _from_array(array_from_bytes(content, name), name)
        return _from_array(media, "the given array")

    def examples(self) -> list[FeatureFrames]:
        """Return noise of 8 dims in 5, 16 and 43 frames."""
        generator = np.random.default_rng(0)
        return [FeatureFrames(generator.normal(size=(frames, 8)).astype(np.float32)) for frames in (5, 16, 43)]


def _from_array(array: ArrayLike, origin: str) -> FeatureFrames:
    try:
        values = np.asarray(array)
    except ValueError as error:
        raise DataError(f"{origin} is not an array: {error}", hint=SHAPE_HINT) from error
    if values.dtype.kind not in "fiu":
        raise DataError(f"{origin} holds values of type {values.dtype}, not numbers", hint=SHAPE_HINT)
    if values.ndim != 2:
        raise DataError(f"{origin} has the shape {list(values.shape)}", hint=SHAPE_HINT)
    if not values.size:
        raise DataError(f"{origin} has no frames: its shape is {list(values.shape)}", hint=SHAPE_HINT)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(numbers).all():
        frame, dim = np.argwhere(~np.isfinite(numbers))[0]
        raise DataError(
            f"{origin} holds {values[frame, dim]} at frame {frame} of dim {dim}, which float32 cannot hold as a number",
            hint="correct or leave out what made it",
        )
    return FeatureFrames(numbers)
