"""Log-probabilities of tokens in OpenAI's shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modrwkv_core.inference.generation import TokenEvent
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.serving.models import Model
from modrwkv_core.serving.schemas.chat import TokenLogprob, TopLogprob
from modrwkv_core.serving.schemas.completions import CompletionLogprobs

__all__ = ["chat_logprobs", "completion_logprobs"]

_LEAST = -9999.0
"""What stands for the log-probability of what is impossible, as in OpenAI's answers: JSON has no infinity."""


def chat_logprobs(model: Model, tokens: Sequence[TokenEvent]) -> list[TokenLogprob]:
    """Return the log-probabilities of ``tokens`` as chats give them."""
    return [
        TokenLogprob(
            **_top(model, event.token, event.logprob).model_dump(),
            top_logprobs=[_top(model, *likely) for likely in event.top_logprobs],
        )
        for event in tokens
    ]


def completion_logprobs(model: Model, tokens: Sequence[TokenEvent], offset: int = 0) -> CompletionLogprobs:
    """Return the log-probabilities of ``tokens`` as completions give them; the first begins at ``offset``."""
    texts = [_bytes(model, event.token).decode("utf-8", errors="replace") for event in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return CompletionLogprobs(
        tokens=texts,
        token_logprobs=[_finite(event.logprob) for event in tokens],
        top_logprobs=[
            {_top(model, *likely).token: _finite(likely[1]) for likely in event.top_logprobs} for event in tokens
        ],
        text_offset=offsets,
    )


def _top(model: Model, token: int, logprob: float | None) -> TopLogprob:
    content = _bytes(model, token)
    return TopLogprob(token=content.decode("utf-8", errors="replace"), logprob=_finite(logprob), bytes=list(content))


def _bytes(model: Model, token: int) -> bytes:
    tokenizer = model.engine.session.model.tokenizer
    with guard(tokenizer.origin, "decode()"):
        return tokenizer.decode([token])


def _finite(logprob: float | None) -> float:
    return logprob if logprob is not None and math.isfinite(logprob) else _LEAST
