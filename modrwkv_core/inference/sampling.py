"""Settings of how the tokens of an answer are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from modrwkv_core.errors import ModRWKVError

__all__ = ["Sampling"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of an answer are drawn; :class:`~modrwkv_core.inference.sampler.Sampler` draws them.

    The settings apply in this order: penalties for tokens that the answer already holds, ``logit_bias``,
    ``temperature``, ``top_k``, ``top_p``, ``min_p``, ``typical_p``. The defaults always take the likeliest token.

    Attributes:
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_p: Draw among the likeliest tokens that together have this probability (nucleus sampling, Holtzman et
            al. 2020).
        seed: Makes the draws repeatable; None draws anew each time.
        top_k: Draw among this many of the likeliest tokens, and those as likely as the last of them; 0 sets no limit.
        min_p: Draw among tokens that have at least this share of the likeliest token's probability (Nguyen et
            al. 2024).
        typical_p: Draw among the tokens whose information is closest to the entropy and that together have this
            probability (locally typical sampling, Meister et al. 2023).
        repetition_penalty: Divides the positive logits, and multiplies the negative ones, of tokens that the answer
            holds (Keskar et al. 2019); 1 changes nothing.
        presence_penalty: Subtracted from the logits of tokens that the answer holds, as OpenAI defines it.
        frequency_penalty: Subtracted from a token's logit once for each time that the answer holds it, as OpenAI
            defines it.
        logit_bias: Added to the logits of these token ids.

    Raises:
        ModRWKVError: A value is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < math.inf:
            raise ModRWKVError(f"temperature is {self.temperature}", hint="it must be 0 (greedy) or a number above")
        if not 0.0 < self.top_p <= 1.0:
            raise ModRWKVError(f"top_p is {self.top_p}", hint="it must be above 0 and at most 1")
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise ModRWKVError(f"seed is {self.seed}", hint="it must be 0 or more and below 2^64")
        if self.top_k < 0:
            raise ModRWKVError(f"top_k is {self.top_k}", hint="it must be 0 (no limit) or a number of tokens")
        if not 0.0 <= self.min_p <= 1.0:
            raise ModRWKVError(f"min_p is {self.min_p}", hint="it must be from 0 to 1")
        if not 0.0 < self.typical_p <= 1.0:
            raise ModRWKVError(f"typical_p is {self.typical_p}", hint="it must be above 0 and at most 1")
        # Within these bounds no logit overflows.
        if not 0.01 <= self.repetition_penalty <= 100.0:
            raise ModRWKVError(
                f"repetition_penalty is {self.repetition_penalty}",
                hint="it must be from 0.01 to 100; 1 changes nothing",
            )
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2.0 <= getattr(self, name) <= 2.0:
                raise ModRWKVError(f"{name} is {getattr(self, name)}", hint="it must be from -2 to 2")
        for token, bias in self.logit_bias.items():
            if token < 0 or not -100.0 <= bias <= 100.0:
                raise ModRWKVError(
                    f"logit_bias holds {token}: {bias}", hint="it must map token ids to numbers from -100 to 100"
                )

    @property
    def is_greedy(self) -> bool:
        """Whether every token is the likeliest by the model's own logits."""
        return self.temperature == 0.0 and not self.logit_bias and not self.penalizes

    @property
    def penalizes(self) -> bool:
        """Whether a draw depends on the tokens that the answer already holds."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0
