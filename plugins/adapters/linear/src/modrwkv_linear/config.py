"""What a manifest may say about ``linear``."""

from __future__ import annotations

from typing import Literal

from modrwkv_core.interfaces.config import AdapterConfig

__all__ = ["LinearConfig"]


class LinearConfig(AdapterConfig):
    """One linear layer.

    Source: Liu et al., Visual Instruction Tuning, arXiv 2304.08485, section 4.1.
    """

    type: Literal["linear"] = "linear"

    bias: bool = True
    """Add a learned constant to each channel."""
