"""Choosing the next token.

B = batch size, V = vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from modrwkv_core.errors import ModRWKVError

__all__ = ["Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn.

    Attributes:
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_p: Draw among the likeliest tokens that together have this probability (nucleus sampling, Holtzman et
            al. 2020).
        seed: Makes the draw repeatable; None draws anew each time.

    Raises:
        ModRWKVError: A value is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < math.inf:
            raise ModRWKVError(f"temperature is {self.temperature}", hint="it must be 0 (greedy) or a number above")
        if not 0.0 < self.top_p <= 1.0:
            raise ModRWKVError(f"top_p is {self.top_p}", hint="it must be above 0 and at most 1")

        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise ModRWKVError(f"seed is {self.seed}", hint="it must be 0 or more and below 2^64")

    def generator(self, device: torch.device) -> torch.Generator:
        """Return a source of randomness for one answer."""
        generator = torch.Generator(device)
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return generator

    def draw(self, logits_BV: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one token for each sequence: ``[B, V]`` to ``[B]``."""
        if self.temperature == 0.0:
            return logits_BV.argmax(dim=-1)
        # Below the largest logit everything is negative, so that the smallest temperature leaves no NaN.
        logits_BV = logits_BV.double() - logits_BV.double().amax(dim=-1, keepdim=True)
        probabilities_BV = torch.softmax(logits_BV / self.temperature, dim=-1)
        if self.top_p < 1.0:
            sorted_BV, order_BV = probabilities_BV.sort(dim=-1, descending=True)
            outside_BV = sorted_BV.cumsum(dim=-1) - sorted_BV >= self.top_p
            probabilities_BV = torch.zeros_like(probabilities_BV).scatter(
                -1, order_BV, sorted_BV.masked_fill(outside_BV, 0.0)
            )
        return torch.multinomial(probabilities_BV, 1, generator=generator)[:, 0]
