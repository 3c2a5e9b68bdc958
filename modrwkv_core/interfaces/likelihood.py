"""The value that a scored text is: how likely a model holds it. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LogLikelihood"]


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """How likely a model holds a text after what it has read.

    Attributes:
        total: Sum of the log-probabilities of the text's tokens, in nats.
        tokens: Number of the tokens.
        greedy: Whether each token is the likeliest one at its place, so that greedy decoding gives the text.
    """

    total: float
    tokens: int
    greedy: bool
