"""Drawing the tokens of answers.

B = answers, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.sampling import Sampling

if TYPE_CHECKING:
    from modrwkv_core.inference.constraint import Constraint

__all__ = ["Drawn", "Sampler", "draw"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One token of an answer.

    Log-probabilities are the model's own: before penalties, biases, temperature, filters and a constraint, and among
    the tokens that are not banned.

    Attributes:
        token: Its id.
        logprob: Its log-probability, if the sampler was asked for them.
        top_logprobs: The likeliest tokens and their log-probabilities, likeliest first.
    """

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Draws the tokens of one answer and remembers what the next draw depends on.

    Args:
        sampling: How tokens are drawn.
        vocab_size: The number of logits.
        banned: Ids that are never drawn ``[number]``, on the device of the logits.
        constraint: What the answer must be, of which the sampler makes a copy; None lets it be anything.
        top_logprobs: How many of the likeliest tokens are reported with each draw; 0 reports the drawn one's
            log-probability alone, None reports none.

    Raises:
        ModRWKVError: ``logit_bias`` names an id outside of the vocabulary, or ``top_logprobs`` is out of range.
    """

    def __init__(
        self,
        sampling: Sampling,
        *,
        vocab_size: int,
        banned: Tensor,
        constraint: Constraint | None = None,
        top_logprobs: int | None = None,
    ) -> None:
        if outside := [token for token in sampling.logit_bias if token >= vocab_size]:
            raise ModRWKVError(
                f"logit_bias names the token {outside[0]}, but the vocabulary has {vocab_size}",
                hint="name ids of this model's tokenizer",
            )
        if top_logprobs is not None and not 0 <= top_logprobs <= vocab_size - len(banned):
            raise ModRWKVError(
                f"top_logprobs is {top_logprobs}",
                hint=f"it must be from 0 to {vocab_size - len(banned)}, the number of tokens that can be drawn",
            )
        self.sampling = sampling
        self.banned = banned
        self.constraint = None if constraint is None else constraint.copy()
        self.top_logprobs = top_logprobs
        # On the CPU, so that a seed draws the same numbers whatever the device of the logits.
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._counts: dict[int, int] = {}

    def draw(self, logits_V: Tensor) -> Drawn:
        """Draw the next token of the answer from its logits ``[vocabulary]``.

        Raises:
            ModRWKVError: The constraint allows no token that can be drawn.
        """
        return draw(logits_V[None], [self])[0]

    @property
    def _takes_argmax(self) -> bool:
        return self.sampling.is_greedy and self.constraint is None and self.top_logprobs is None

    def probabilities(self, logits_V: Tensor) -> Tensor:
        """Return the distribution from which the next token is drawn ``[vocabulary]``, in float32 or better."""
        scores_V = self._adjusted(self._allowed(logits_V))
        if self.sampling.temperature == 0.0:
            return torch.zeros_like(scores_V).index_fill(0, scores_V.argmax(), 1.0)
        return self._distribution(scores_V)

    def _allowed(self, logits_V: Tensor) -> Tensor:
        precise = torch.promote_types(logits_V.dtype, torch.float32)
        return logits_V.to(precise).index_fill(0, self.banned, float("-inf"))

    def _choose(self, logits_V: Tensor) -> Tensor:
        """Return the drawn token, and the log-probabilities that are reported with it, in one tensor."""
        logits_V = self._allowed(logits_V)
        scores_V = self._adjusted(logits_V.clone())
        token = scores_V.argmax() if self.sampling.temperature == 0.0 else self._random(self._distribution(scores_V))
        if self.top_logprobs is None:
            return token[None].double()
        logprobs_V = logits_V.log_softmax(0, dtype=torch.float64)
        top = logprobs_V.topk(self.top_logprobs)
        return torch.cat([token[None].double(), logprobs_V.gather(0, token[None]), top.indices.double(), top.values])

    def _adjusted(self, logits_V: Tensor) -> Tensor:
        """Apply the constraint, the penalties and the biases, in place."""
        if self.constraint is not None:
            self.constraint.mask(logits_V)
        if self.sampling.penalizes and self._counts:
            tokens = torch.tensor(list(self._counts), device=logits_V.device)
            counts = torch.tensor(list(self._counts.values()), dtype=logits_V.dtype, device=logits_V.device)
            penalty = self.sampling.repetition_penalty
            logits = logits_V[tokens]
            logits = torch.where(logits < 0, logits * penalty, logits / penalty)
            logits -= self.sampling.presence_penalty + self.sampling.frequency_penalty * counts
            logits_V[tokens] = logits
        if self.sampling.logit_bias:
            tokens = torch.tensor(list(self.sampling.logit_bias), device=logits_V.device)
            biases = list(self.sampling.logit_bias.values())
            logits_V[tokens] += torch.tensor(biases, dtype=logits_V.dtype, device=logits_V.device)
        return logits_V

    def _distribution(self, scores_V: Tensor) -> Tensor:
        # Below the largest logit everything is negative, and the factor is neither infinite nor 0: nothing becomes NaN.
        limits = torch.finfo(scores_V.dtype)
        factor = min(max(1.0 / self.sampling.temperature, limits.tiny), limits.max)
        scores_V = (scores_V - scores_V.amax()) * factor
        return _filtered(scores_V, self.sampling).softmax(0)

    def _random(self, probabilities_V: Tensor) -> Tensor:
        # The inverse of the cumulative distribution. Tokens without probability hold 0, which is never reached: a
        # parallel sum need not be monotone, and an excluded token must not be drawn by a rounding error.
        cumulative_V = probabilities_V.cumsum(0, dtype=torch.float64).masked_fill(probabilities_V == 0.0, 0.0)
        share = 1.0 - float(torch.rand((), dtype=torch.float64, generator=self._generator))
        return (cumulative_V >= cumulative_V.amax() * share).byte().argmax()

    def _accept(self, token: int) -> None:
        if self.sampling.penalizes:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self.constraint is not None:
            self.constraint.accept(token)

    def _drawn(self, chosen: Sequence[float]) -> Drawn:
        self._accept(token := int(chosen[0]))
        if self.top_logprobs is None:
            return Drawn(token)
        ids, values = chosen[2 : 2 + self.top_logprobs], chosen[2 + self.top_logprobs :]
        return Drawn(token, chosen[1], tuple((int(index), value) for index, value in zip(ids, values, strict=True)))


def draw(logits_BV: Tensor, samplers: Sequence[Sampler]) -> list[Drawn]:
    """Draw the next token of each answer; the device is waited for once.

    No answer's token depends on the other answers.

    Args:
        logits_BV: Logits ``[answers, vocabulary]``, finite; they stay as they are.
        samplers: One for each answer.

    Raises:
        ModRWKVError: A constraint allows no token that can be drawn.
    """
    # Answers that always take the likeliest token share one kernel for each set of banned ids: usually there is one.
    greedy: dict[int, list[int]] = {}
    for row, sampler in enumerate(samplers):
        if sampler._takes_argmax:
            greedy.setdefault(id(sampler.banned), []).append(row)
    chosen: list[tuple[list[int], Tensor]] = []  # rows, and the values of each in turn
    for rows in greedy.values():
        logits = logits_BV if len(rows) == len(samplers) else logits_BV[rows]
        tokens = logits.index_fill(1, samplers[rows[0]].banned, float("-inf")).argmax(dim=1)
        chosen.append((rows, tokens.double()))
    for row, sampler in enumerate(samplers):
        if not sampler._takes_argmax:
            chosen.append(([row], sampler._choose(logits_BV[row])))
    values = iter(torch.cat([each for _, each in chosen]).tolist())
    drawn = {
        row: samplers[row]._drawn(list(islice(values, len(each) // len(rows)))) for rows, each in chosen for row in rows
    }
    return [drawn[row] for row in range(len(samplers))]


def _filtered(scores_V: Tensor, sampling: Sampling) -> Tensor:
    """Return the scores, -inf for tokens that top-k, top-p, min-p or typical-p exclude."""
    excluded = float("-inf")
    if 0 < sampling.top_k < len(scores_V):
        scores_V = scores_V.masked_fill(scores_V < scores_V.topk(sampling.top_k).values[-1], excluded)
    if sampling.top_p < 1.0:
        probabilities_V = scores_V.softmax(0)
        scores_V = scores_V.masked_fill(_beyond(-probabilities_V, probabilities_V, sampling.top_p), excluded)
    if sampling.min_p > 0.0:
        probabilities_V = scores_V.softmax(0)
        scores_V = scores_V.masked_fill(probabilities_V < sampling.min_p * probabilities_V.amax(), excluded)
    if sampling.typical_p < 1.0:
        logprobs_V = scores_V.log_softmax(0)
        probabilities_V = logprobs_V.exp()
        entropy = -(probabilities_V * logprobs_V).nansum()
        surprise_V = (-logprobs_V - entropy).abs()
        scores_V = scores_V.masked_fill(_beyond(surprise_V, probabilities_V, sampling.typical_p), excluded)
    return scores_V


def _beyond(keys_V: Tensor, probabilities_V: Tensor, share: float) -> Tensor:
    """Return True for all tokens but those of the smallest keys that together have the probability ``share``."""
    # On a CPU sorting a whole vocabulary takes longer than everything else, and few tokens nearly always suffice.
    few = min(256, len(keys_V)) if keys_V.is_cpu else len(keys_V)
    order = keys_V.topk(few, largest=False).indices
    if few < len(keys_V) and probabilities_V[order].sum() < share:
        order = keys_V.argsort()
    before = probabilities_V[order].cumsum(0, dtype=torch.float64) - probabilities_V[order]
    return torch.ones_like(keys_V, dtype=torch.bool).scatter(0, order, before >= share)
