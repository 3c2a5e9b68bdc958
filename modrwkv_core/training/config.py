"""Configurations of the optimizers, the schedulers and the fine-tuning methods of the core."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from modrwkv_core.interfaces.config import FinetuningConfig, OptimizerConfig, SchedulerConfig

__all__ = ["AdamWConfig", "ConstantConfig", "CosineConfig", "FullConfig", "MuonConfig", "StateConfig", "WSDConfig"]

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamWConfig(OptimizerConfig):
    """AdamW (Loshchilov & Hutter, ICLR 2019)."""

    type: Literal["adamw"] = "adamw"

    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Decay rates of the averages of gradients and squared gradients."""

    eps: float = Field(default=1e-8, gt=0.0, allow_inf_nan=False)
    """Added to the denominator for numerical stability."""


class MuonConfig(OptimizerConfig):
    """Muon (Jordan et al., 2024) for hidden matrices, AdamW for all other parameters."""

    type: Literal["muon"] = "muon"

    momentum: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Decay rate of Muon's average of gradients."""

    adamw: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = (
        "backbone.emb.*",
        "backbone.head.*",
        "backbone.*.r_k",
        "backbone.initial_state.*",
        "*embed*",
        "heads.*",
    )
    """Matrices that AdamW takes, as globs of their names: embeddings, output projections, and what is a list of
    vectors. Vectors are AdamW's in any case."""

    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """AdamW's decay rates of the averages of gradients and squared gradients."""

    eps: float = Field(default=1e-8, gt=0.0, allow_inf_nan=False)
    """Added to AdamW's denominator for numerical stability."""


class WarmupConfig(SchedulerConfig, ABC):
    """Configuration of a schedule that begins with a linear warm-up."""

    warmup_steps: int | None = Field(default=None, ge=0)
    """Optimizer steps of warm-up; null: 100, or a tenth of the phase if that is less."""

    def warmup_of(self, steps: int) -> int:
        """Return the steps of warm-up in a phase of ``steps``."""
        return min(100, steps // 10) if self.warmup_steps is None else min(self.warmup_steps, steps)


class ConstantConfig(WarmupConfig):
    """Linear warm-up, then the highest learning rate."""

    type: Literal["constant"] = "constant"


class WSDConfig(WarmupConfig):
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395): constant, and a fall to ``min_lr_ratio`` at the end."""

    type: Literal["wsd"] = "wsd"

    decay: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of the phase's steps in which the learning rate falls, at its end."""

    shape: Literal["linear", "sqrt"] = "linear"
    """How it falls: along a straight line, or as 1 minus the square root of the progress (arXiv 2405.18392)."""

    min_lr_ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Learning rate at the phase's end, as a fraction of ``lr``."""


class CosineConfig(WarmupConfig):
    """Linear warm-up, then half a cosine down to ``min_lr_ratio``."""

    type: Literal["cosine"] = "cosine"

    min_lr_ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Learning rate at the phase's end, as a fraction of ``lr``."""


class FullConfig(FinetuningConfig):
    """All parameters of the parts learn."""

    type: Literal["full"] = "full"


class StateConfig(FinetuningConfig):
    """State tuning: of a backbone only the state that it begins with learns; other parts in ``train`` learn in full."""

    type: Literal["state"] = "state"
