"""Configurations of the optimizer, the scheduler and the fine-tuning method of the core."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modrwkv_core.interfaces.config import FinetuningConfig, OptimizerConfig, SchedulerConfig

__all__ = ["AdamWConfig", "CosineConfig", "FullConfig"]

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamWConfig(OptimizerConfig):
    """AdamW (Loshchilov & Hutter, ICLR 2019)."""

    type: Literal["adamw"] = "adamw"

    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Decay rates of the averages of gradients and squared gradients."""

    eps: float = Field(default=1e-8, gt=0.0, allow_inf_nan=False)
    """Added to the denominator for numerical stability."""


class CosineConfig(SchedulerConfig):
    """Linear warm-up, then half a cosine down to ``min_lr_ratio``."""

    type: Literal["cosine"] = "cosine"

    warmup_steps: int | None = Field(default=None, ge=0)
    """Optimizer steps of warm-up; null: 100, or a tenth of the phase if that is less."""

    min_lr_ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Learning rate at the phase's end, as a fraction of ``lr``."""


class FullConfig(FinetuningConfig):
    """All parameters of the parts learn."""

    type: Literal["full"] = "full"
