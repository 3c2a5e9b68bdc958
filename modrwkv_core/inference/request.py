"""What is asked of an engine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.interfaces.record import Turn

if TYPE_CHECKING:
    from modrwkv_core.inference.constraint import Constraint

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to be generated.

    Attributes:
        turns: The conversation, which ends with the user's turn. After ``state``, only the turns that follow it.
        max_tokens: End after this many tokens.
        sampling: How tokens are drawn; by default greedily.
        stop: Texts that end the answer; they are not part of it.
        constraint: What the answer must conform to; None allows everything.
        top_logprobs: How many of the likeliest tokens to return at each position; None returns no log probabilities.
        head: Name of the token head that answers; None takes the only one.
        priority: Requests of a higher number go first.
        deadline_s: Seconds after which the answer ends as it is; None sets no limit.
        session: Name of the conversation in a :class:`~modrwkv_core.inference.sessions.SessionStore` that it continues.
        state: What was read before; None begins anew.
        keep_state: Whether :meth:`~modrwkv_core.inference.generation.Generation.snapshot` returns the state after the
            answer, whose memory is then taken for as long as the generation is held.
        prompt: A text, or its tokens, that is continued as it is, without a template, in the place of ``turns``. The
            answer ends where the text does: at the id 0, or where a turn ends.

    Raises:
        ModRWKVError: A value is out of its range.
        DataError: Not one of turns and prompt is given.
    """

    turns: Sequence[Turn] = ()
    max_tokens: int = 256
    sampling: Sampling = field(default_factory=Sampling)
    stop: Sequence[str] = ()
    constraint: Constraint | None = None
    top_logprobs: int | None = None
    head: str | None = None
    priority: int = 0
    deadline_s: float | None = None
    session: str | None = None
    state: Snapshot | None = None
    keep_state: bool = False
    prompt: str | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ModRWKVError(f"max_tokens is {self.max_tokens}", hint="it must be at least 1")
        if self.deadline_s is not None and not 0 < self.deadline_s < math.inf:
            raise ModRWKVError(f"deadline_s is {self.deadline_s}", hint="it must be a number of seconds above 0")
        if bool(self.turns) == (self.prompt is not None):
            raise DataError("a request has not one of turns and prompt", hint="give a conversation, or a text")
