"""What a manifest may say; never imports torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modrwkv_core.interfaces.config import OptimizerConfig

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamW8bitConfig(OptimizerConfig):
    """AdamW with averages in 8 bits: a quarter of the memory."""

    type: Literal["adamw8bit"] = "adamw8bit"

    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Decay rates of the averages of gradients and squared gradients."""

    eps: float = Field(default=1e-8, gt=0.0, allow_inf_nan=False)
    """Added to the denominator for numerical stability."""

    min_8bit_size: int = Field(default=4096, ge=0)
    """Parameters of fewer numbers keep averages in float32."""
