"""Pixels of images on their way to an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["normalize_pixels"]


def normalize_pixels(pixels: Tensor, mean: Sequence[float], std: Sequence[float], *, channel_dim: int = -3) -> Tensor:
    """Return ``(pixels / 255 - mean) / std``, float32, where the pixels lie.

    Processors hand on 8-bit pixels, and encoders call this at the beginning of ``forward``: a quarter of the bytes
    pass from loader workers to the device.

    Args:
        pixels: uint8, of any shape.
        mean: Of each channel, or one value for all channels, as a fraction of 255.
        std: Standard deviations, as many.
        channel_dim: The dimension of the channels; only looked at if there are several values.

    Raises:
        ValueError: The pixels are not uint8, or there is neither one value nor one for each channel.
    """
    if pixels.dtype != torch.uint8:
        raise ValueError(f"pixels must be uint8, not {pixels.dtype}")
    if len(mean) == len(std) == 1:
        return _normalized(pixels, mean[0], std[0])
    channels = pixels.unbind(channel_dim)
    if not len(channels) == len(mean) == len(std):
        raise ValueError(f"{len(mean)} means and {len(std)} standard deviations for {len(channels)} channels")
    # Scalars need no copy to the device.
    return torch.stack([_normalized(*each) for each in zip(channels, mean, std, strict=True)], dim=channel_dim)


def _normalized(pixels: Tensor, mean: float, std: float) -> Tensor:
    return pixels.to(torch.float32).sub_(255 * mean).div_(255 * std)
