"""The tokens of several answers, continued together until each has ended.

B = answers, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from modrwkv_core.errors import ComponentError, ModRWKVError
from modrwkv_core.inference.sampler import Sampler, draw
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.record import Turn

if TYPE_CHECKING:
    from modrwkv_core.inference.constraint import Constraint
    from modrwkv_core.inference.session import Session

__all__ = ["check_finite", "generate_tokens", "not_finite"]


def generate_tokens(
    session: Session,
    conversations: Sequence[Sequence[Turn]],
    max_tokens: int,
    sampling: Sampling,
    head: str | None,
    constraint: Constraint | None = None,
) -> Iterator[dict[int, int]]:
    """Yield the next token of each answer that has not ended, by the index of its conversation.

    The arguments are those of :meth:`~modrwkv_core.inference.session.Session.generate`.
    """
    if max_tokens < 1:
        raise ModRWKVError(f"max_tokens is {max_tokens}", hint="it must be at least 1")
    _, decoder = session.token_head(head)
    logits_BV, state = session.prefill(conversations, head)
    samplers = {
        index: Sampler(sampling, vocab_size=logits_BV.shape[1], banned=session.banned, constraint=constraint)
        for index in range(len(conversations))
    }
    with decoder.start(state) as decoding:
        for step in range(max_tokens):
            check_finite(logits_BV, session)
            drawn = draw(logits_BV, list(samplers.values()))
            tokens = {index: one.token for index, one in zip(samplers, drawn, strict=True)}
            yield tokens
            going_on = [index for index, token in tokens.items() if token not in session.ends]
            if step + 1 == max_tokens or not going_on:
                return
            with guard(session.model.backbone.origin, "step()"):
                if len(going_on) < len(tokens):
                    decoding.keep([row for row, index in enumerate(tokens) if index in going_on])
                    samplers = {index: samplers[index] for index in going_on}
                ids = torch.tensor([tokens[index] for index in going_on], device=session.model.device)
                logits_BV = decoding.step(ids)


def check_finite(logits_BV: Tensor, session: Session) -> None:
    """Check that logits hold neither NaN nor infinity.

    Raises:
        ComponentError: They do.
    """
    # A sum holds every NaN and infinity, and takes one kernel.
    if not bool(torch.isfinite(logits_BV.sum())):
        raise not_finite(session)


def not_finite(session: Session) -> ComponentError:
    """Return the error of logits that hold NaN or infinity."""
    return ComponentError(
        "the backbone gave logits that are not finite: they hold NaN or infinity",
        component=f"backbone/{session.loaded.manifest.backbone.type}",
        hint="the checkpoint's weights are damaged or training diverged; go back to an older checkpoint",
    )
