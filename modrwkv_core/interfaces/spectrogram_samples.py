"""The samples that encoders take a spectrogram of."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.resampling import resample
from modrwkv_core.interfaces.signals import Waveform

__all__ = ["spectrogram_samples"]

LOUDEST: Final = 1e10
"""Samples above are damage, whatever integers they were once; their power would leave float32."""


def spectrogram_samples(signal: Waveform, rate: int, component: str) -> Tensor:
    """Return the samples ``[samples]`` of a recording at ``rate``, float32.

    Args:
        signal: Of any rate.
        rate: Samples per second that the encoder reads.
        component: The encoder, for errors: ``encoder/whisper``.

    Raises:
        DataError: The recording has no samples, or some are NaN, infinite or huge.
    """
    hint = "save it again from its source, or leave it out"
    if not signal.samples.size:
        raise DataError("the recording has no samples", component=component, hint=hint)
    peak = np.abs(signal.samples).max()
    if not peak <= LOUDEST:  # NaN neither
        message = f"the recording holds samples of {peak:g}, where full scale is 1"
        raise DataError(message, component=component, hint=hint)
    return resample(torch.from_numpy(signal.samples.copy()), signal.rate, rate)
