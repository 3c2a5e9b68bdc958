"""Filters of a spectrogram, for a convolution that begins from scratch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["gabor_filters"]

LOWEST_HZ = 60.0


def gabor_filters(count: int, width: int, rate: int) -> Tensor:
    """Return ``[count, width]``: windowed cosines, then sines, of unit norm.

    Their frequencies are equally spaced in mel from 60 Hz to just below half the rate. Raw waveforms carry too much
    detail for small data sets; filters that begin as a spectrogram's are the usual remedy.

    Source: Zeghidour et al., Learning Filterbanks from Raw Speech for Phone Recognition, arXiv 1711.01161, section 2.

    Args:
        count: Number of filters.
        width: Samples of a filter.
        rate: Samples per second.
    """
    bands = -(-count // 2)
    mel = torch.linspace(_mel(LOWEST_HZ), _mel(0.475 * rate), bands, dtype=torch.float64)
    hertz = 700.0 * (torch.pow(10.0, mel / 2595.0) - 1.0)
    phase = 2.0 * math.pi * hertz[:, None] * torch.arange(width, dtype=torch.float64) / rate
    window = torch.hann_window(width + 2, periodic=False, dtype=torch.float64)[1:-1]
    filters = torch.cat([phase.cos(), phase.sin()])[:count] * window
    unit: Tensor = filters / filters.norm(dim=1, keepdim=True)
    return unit.to(torch.get_default_dtype())


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)
