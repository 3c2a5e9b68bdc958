from __future__ import annotations
from collections.abc import Sequence
from dataclasses import dataclass
import torch
from torch import Tensor
from modrwkv_core.inference.constraint import Constraint
from modrwkv_core.inference.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Drawn:
    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Sampler:
    def __init__(
        self,
        sampling: Sampling,
        *,
        vocab_size: int,
        banned: Tensor,
        constraint: Constraint | None = None,
        top_logprobs: int | None = None,
    ) -> None:
        self.sampling = sampling
        self.banned = banned
        self.generator = sampling.generator(banned.device)

    def draw(self, logits_V: Tensor) -> Drawn:
        logits = logits_V.index_fill(0, self.banned, float("-inf"))[None]
        return Drawn(int(self.sampling.draw(logits, self.generator)))


def draw(logits_BV: Tensor, samplers: Sequence[Sampler]) -> list[Drawn]:
    return [sampler.draw(logits) for sampler, logits in zip(samplers, logits_BV, strict=True)]
