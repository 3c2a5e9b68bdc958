"""The grouped convolution that tells wav2vec 2.0 and its kin positions, right in 16 bits on every processor."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["avoid_misaligned_groups"]

ALIGNMENT = 16
"""Channels per group must be a multiple of this in oneDNN's convolutions on AMX units."""


def avoid_misaligned_groups(conv: nn.Conv1d) -> None:
    """Let a convolution compute in float32 on CPUs where the size of its groups makes oneDNN wrong in 16 bits.

    On Xeons with AMX units oneDNN's grouped convolution in bfloat16 has a relative error of about 1 where the channels
    of a group are not a multiple of 16. The names of the parameters stay. The published WavLM models are not affected:
    their groups have 48 or 64 channels.
    """
    if conv.groups == 1 or conv.in_channels // conv.groups % ALIGNMENT == 0:
        return
    assert conv.padding_mode == "zeros"
    geometry: dict[str, Any] = {
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
    }
    # What `Conv1d.forward` calls; the forward method itself belongs to the parametrization of the weight.
    conv._conv_forward = partial(_in_float32_on_cpus, **geometry)  # type: ignore[method-assign]


def _in_float32_on_cpus(x: Tensor, weight: Tensor, bias: Tensor | None, **geometry: Any) -> Tensor:
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    if x.device.type != "cpu" or x.dtype == torch.float64 or dtype not in (torch.bfloat16, torch.float16):
        return F.conv1d(x, weight, bias, **geometry)
    with torch.autocast("cpu", enabled=False):
        y = F.conv1d(x.float(), weight.float(), None if bias is None else bias.float(), **geometry)
    return y.to(dtype)
