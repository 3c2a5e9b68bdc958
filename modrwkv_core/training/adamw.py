"""AdamW as an optimizer of phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from modrwkv_core.interfaces.optimizer import Optimizer
from modrwkv_core.training.config import AdamWConfig

__all__ = ["AdamW"]


class AdamW(Optimizer[AdamWConfig], torch.optim.AdamW):
    """Torch's fused AdamW."""

    def __init__(self, config: AdamWConfig, groups: Sequence[dict[str, Any]]) -> None:
        torch.optim.AdamW.__init__(self, groups, betas=config.betas, eps=config.eps, fused=True)
