"""Decoded signals of the first-party modalities: an image, a waveform, a series, feature frames.

A signal is what a :class:`~modrwkv_core.interfaces.modality.Modality` makes of a file, bytes or an array, and what an
encoder's processor reads. Signals live on the CPU, are picklable and hold no torch objects. Third-party modalities
define their own classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureFrames", "Image", "TimeSeries", "Waveform"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image in sRGB.

    Attributes:
        pixels: ``[height, width, 3]``, uint8.
    """

    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Waveform:
    """Sound of one channel.

    Attributes:
        samples: ``[samples]``, float32, full scale is -1 to 1.
        rate: Samples per second.
    """

    samples: NDArray[np.float32]
    rate: int


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """Measurements at equal time steps.

    Attributes:
        values: ``[points, channels]``, float32, in the units of the input.
        spread: Standard deviation of each channel ``[channels]`` over the long series that ``values`` are a window of,
            in the same units, known without looking ahead; None where only the window is known.
    """

    values: NDArray[np.float32]
    spread: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class FeatureFrames:
    """Ready-made feature vectors in the order of time: cepstra of a recording, another model's embeddings.

    Attributes:
        values: ``[frames, dims]``, float32.
    """

    values: NDArray[np.float32]
