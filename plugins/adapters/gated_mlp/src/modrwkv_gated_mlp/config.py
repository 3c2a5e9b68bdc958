"""What a manifest may say about ``gated_mlp``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import AdapterConfig

__all__ = ["GatedMLPConfig"]


class GatedMLPConfig(AdapterConfig):
    """An RMS norm of the features, then a linear layer with a gate (SwiGLU) and a linear layer, without biases.

    Source: Shazeer, GLU Variants Improve Transformer, arXiv 2002.05202, section 2.
    """

    type: Literal["gated_mlp"] = "gated_mlp"

    expansion: int = Field(default=4, ge=1)
    """Dimension of the hidden layer as a multiple of the hidden size of the backbone."""
