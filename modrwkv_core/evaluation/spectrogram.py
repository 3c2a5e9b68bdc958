"""How loud a sound is, over time and frequency."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.interfaces.signals import Waveform

__all__ = ["FLOOR", "decibels"]

FLOOR: Final = -80.0
"""Least loudness that is told apart, in decibels below the loudest."""

_WINDOW_MS: Final = 32
_MOST_FRAMES: Final = 1000


def decibels(waveform: Waveform) -> NDArray[np.float32]:
    """Return the short-time power spectrum in decibels, relative to its greatest value.

    Windows of 32 ms (Hann) lie centered on the sound from its first sample to its last.

    Returns:
        ``[frequencies, frames]``, from 0 Hz to half the rate; between :data:`FLOOR` and 0, and all of it
        :data:`FLOOR` for silence.
    """
    window = max(16, waveform.rate * _WINDOW_MS // 1000)
    hop = max(window // 8, len(waveform.samples) // _MOST_FRAMES)
    padded = np.pad(waveform.samples.astype(np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(window)))).T
    relative = power / (power.max() or 1.0)
    loudness: NDArray[np.float64] = 10.0 * np.log10(np.maximum(relative, 10.0 ** (FLOOR / 10.0)))
    return loudness.astype(np.float32)
