"""A request on its way through an engine."""

from __future__ import annotations

import time
from collections.abc import Callable

from modrwkv_core.inference.answer_text import AnswerText, Piece
from modrwkv_core.inference.generation import Finished, FinishReason, Generation, TokenEvent, Usage
from modrwkv_core.inference.prefill import Prefill
from modrwkv_core.inference.prompt import Prompt, PromptSegment
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sampler import Drawn, Sampler
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.interfaces.state import State

__all__ = ["Job"]


class Job:
    """What an engine knows of a request.

    Args:
        number: In which order requests came.
        request: What is asked.
        head: Name of the token head that answers.
        generation: Where the answer goes.
        on_finish: Receives the state after the answer, or None, before the last event is delivered.

    Attributes:
        prompt: Makes what is to be read; None until the job is among the next.
        segment: What is to be read next; None while it is being made.
        error: What ends the request; None as long as nothing does.
        prefill: Reads the prompt; None until a slot is free.
        last: The token that was drawn last; None before the first.
        cached_tokens: Tokens of the prompt that were not read because of the prefix cache.
    """

    def __init__(
        self,
        number: int,
        request: Request,
        head: str,
        generation: Generation,
        on_finish: Callable[[Snapshot | None], None] | None = None,
    ) -> None:
        self.number = number
        self.request = request
        self.head = head
        self.generation = generation
        self.on_finish = on_finish
        self.prompt: Prompt | None = None
        self.segment: PromptSegment | None = None
        self.error: Exception | None = None
        self.prefill: Prefill | None = None
        self.last: int | None = None
        self.cached_tokens = 0
        self._deadline = None if request.deadline_s is None else time.monotonic() + request.deadline_s
        self._drawn = 0

    def start(self, session: Session, prefill: Prefill) -> None:
        """Make ready for reading and drawing, in a slot."""
        request, model = self.request, session.model
        # A text that is continued as it is has no template.
        plain = request.prompt is not None
        self.sampler = Sampler(
            request.sampling,
            vocab_size=model.backbone.vocab_size,
            banned=session.banned_in_text if plain else session.banned,
            constraint=request.constraint,
            top_logprobs=request.top_logprobs,
        )
        self._text = AnswerText(model.tokenizer, request.stop) if plain else session.answer_text(request.stop)
        self._ends = session.ends_of_text if plain else session.ends
        self.prefill = prefill

    @property
    def order(self) -> tuple[int, int]:
        """By which jobs are sorted: those of a higher priority first, then those that came earlier."""
        return -self.request.priority, self.number

    @property
    def can_be_read(self) -> bool:
        """Whether tokens of its prompt are there to be read."""
        assert self.prefill is not None, "it has no slot yet"
        return self.segment is not None or not self.prefill.needs_segment

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline; None if there is none."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def reason_to_end(self) -> FinishReason | None:
        """Why the request ends without another token, or None."""
        if self.error is not None:
            return "error"
        if self.generation.is_cancelled:
            return "cancelled"
        remaining = self.remaining_s
        return "deadline" if remaining is not None and remaining <= 0 else None

    def take(self, drawn: Drawn) -> FinishReason | None:
        """Deliver a token; return why it is the last one, or None."""
        assert self.prompt is not None, "nothing was read"
        if self.last is not None and self.prompt.hash is not None:
            self.prompt.hash.read_token(self.last)
        self.last = drawn.token
        self._drawn += 1
        if drawn.token in self._ends:
            return "stop"
        pieces = tuple(self._text.feed(drawn.token))
        self.generation.deliver(TokenEvent(drawn.token, pieces, drawn.logprob, drawn.top_logprobs))
        constraint = self.sampler.constraint
        if self._text.stopped is not None or (constraint is not None and constraint.finished):
            return "stop"
        return "length" if self._drawn == self.request.max_tokens else None

    def finish(self, reason: FinishReason, snapshot: Snapshot | None) -> None:
        """Tell ``on_finish``, and deliver the last event. What fails meanwhile is the error that the job ends with."""
        pieces: tuple[Piece, ...] = ()
        try:
            pieces = () if self._drawn == 0 else tuple(self._text.finish())
        except Exception as error:
            self.error = self.error or error
        snapshot = snapshot if self.error is None else None
        try:
            if self.on_finish is not None:
                self.on_finish(snapshot)
        except Exception as error:
            self.error = self.error or error
        reason = reason if self.error is None else "error"
        usage = Usage(0 if self.prompt is None else self.prompt.num_tokens, self.cached_tokens, self._drawn)
        kept = snapshot if self.request.keep_state else None
        self.generation.finish(Finished(reason, usage, pieces, self.error), kept)

    @property
    def wants_state(self) -> bool:
        """Whether somebody waits for the state after the answer."""
        return self.request.keep_state or self.on_finish is not None

    def snapshot(self, state: State, model_digest: str) -> Snapshot:
        """Return the state after what was read and drawn so far, but for the last token."""
        assert self.prompt is not None, "nothing was read"
        assert self.last is not None, "nothing was drawn"
        before = 0 if self.request.state is None else self.request.state.tokens_read
        return Snapshot(state, model_digest, before + self.prompt.num_tokens + self._drawn - 1, (self.last,))
