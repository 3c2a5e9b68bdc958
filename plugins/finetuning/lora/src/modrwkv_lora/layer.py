"""The layer that takes the place of a linear one."""

from __future__ import annotations

from typing import Final

from peft.tuners.lora import Linear
from torch import Tensor

__all__ = ["ADAPTER", "LoRALinear"]

ADAPTER: Final = "default"
"""Peft's name of the only adapter."""


class LoRALinear(Linear):
    """Peft's layer, whose ``weight`` is the updated one.

    Some modules read the weights of their layers instead of calling these, for example the attention of WavLM and any
    fused product. Peft hands them the base weight, without the update and without gradients of it. Dropout does not
    reach weights that are read.
    """

    @property
    def weight(self) -> Tensor:
        """The weight with its update, ``[outputs, inputs]``; gradients reach the update."""
        base = self.get_base_layer().weight
        assert isinstance(base, Tensor)
        return base if self.merged else base + self.get_delta_weight(ADAPTER)
