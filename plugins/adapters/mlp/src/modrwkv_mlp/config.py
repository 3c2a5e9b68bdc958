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
    """Dimension of the hidden layer as a multiple of the hidden size of the backbone; of 2, 4 and 8 the
    paper finds 4 best."""

    norm: bool = True
    """Add the layer norm of the result to it. The pretrained audio adapters of WorldRWKV do not."""

    init: Literal["unit", "matched"] = "unit"
    """How features of unit scale leave the fresh adapter: about at unit scale, or with the mean and standard deviation
    of the backbone's text embeddings."""
