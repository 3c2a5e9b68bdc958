"""The optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bitsandbytes.optim import adamw

from modrwkv_adamw8bit.config import AdamW8bitConfig
from modrwkv_core.interfaces.optimizer import Optimizer

__all__ = ["AdamW8bit"]


class AdamW8bit(Optimizer[AdamW8bitConfig], adamw.AdamW8bit):
    """AdamW of bitsandbytes (Dettmers et al., ICLR 2022), on CPUs and GPUs."""

    def __init__(self, config: AdamW8bitConfig, groups: Sequence[dict[str, Any]]) -> None:
        adamw.AdamW8bit.__init__(  # type: ignore[no-untyped-call]
            self, groups, betas=config.betas, eps=config.eps, min_8bit_size=config.min_8bit_size
        )

    def load_state_dict(self, state_dict: dict[str, Any], move_to_device: bool = True) -> None:
        """Take back a state; kernels want the number of steps as a plain one, and checkpoints hold tensors."""
        adamw.AdamW8bit.load_state_dict(self, state_dict, move_to_device)  # type: ignore[no-untyped-call]
        for state in self.state.values():
            state["step"] = int(state["step"])
