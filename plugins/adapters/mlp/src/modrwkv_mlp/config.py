"""What a manifest may say about ``mlp``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import AdapterConfig

__all__ = ["MLPConfig"]


class MLPConfig(AdapterConfig):
    """Linear, ReLU, Linear, plus the layer norm of the result unless ``norm`` is off.

    Source: ModRWKV, arXiv 2505.14505, sections 3 and 4.1; the expansion in Table 5.
    """

    type: Literal["mlp"] = "mlp"

    expansion: int = Field(default=4, ge=1)
    """Width of the hidden layer in hidden size of the backbones; of 2, 4 and 8 the paper finds 4 best."""

    norm: bool = True
    """Add the layer norm of the result to it. The authors' published audio adapters do not."""
