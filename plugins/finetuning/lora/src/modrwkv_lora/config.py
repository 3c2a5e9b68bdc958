"""What a manifest may say; never imports torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from modrwkv_core.interfaces.config import FinetuningConfig

Glob = Annotated[str, StringConstraints(min_length=1)]


class LoRAConfig(FinetuningConfig):
    """LoRA: of a backbone and of encoders only low-rank matrices learn; other parts in ``train`` learn in full."""

    type: Literal["lora"] = "lora"

    rank: int = Field(default=16, ge=1)
    """Rank of the matrices A and B: a layer's weight W becomes W + alpha / rank * B A."""

    alpha: float = Field(default=32.0, gt=0.0, allow_inf_nan=False)
    """Scale of the update."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the inputs of A that are dropped while training."""

    targets: tuple[Glob, ...] | None = Field(default=None, min_length=1)
    """Linear layers that get an update, as globs of their names in the part, for example ``blocks.*.att.*``; null: all
    of them, without the output projection of a backbone. In RWKV-7 these are the matrices of both mixings."""
