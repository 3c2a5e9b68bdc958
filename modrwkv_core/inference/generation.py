"""An answer on its way: what an engine returns at once, and fills token by token."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, TypeAlias

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.answer_text import Piece
from modrwkv_core.inference.snapshot import Snapshot

__all__ = ["Answer", "Event", "FinishReason", "Finished", "Generation", "TokenEvent", "Usage"]

FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "deadline", "error"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took.

    Attributes:
        prompt_tokens: Tokens of the prompt, media included; after a given state, only those that follow it.
        cached_tokens: How many of them a snapshot of the prefix cache had read.
        completion_tokens: Tokens that were drawn.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One token.

    Attributes:
        token: Its id.
        pieces: The text that it completes; none while a character or a possible stop text is held back.
        logprob: Log probability of the token, if the request asks for it.
        top_logprobs: Ids and log probabilities of the likeliest tokens, as many as the request asks for.
    """

    token: int
    pieces: tuple[Piece, ...] = ()
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event.

    Attributes:
        reason: ``stop``: the model ended its turn, or a stop text or the constraint did; ``length``: ``max_tokens``
            were drawn; ``cancelled``; ``deadline``; ``error``.
        usage: What it took.
        pieces: The text that was held back until the end.
        error: Of the reason ``error``.
    """

    reason: FinishReason
    usage: Usage
    pieces: tuple[Piece, ...] = ()
    error: Exception | None = None


Event: TypeAlias = TokenEvent | Finished


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: What is said.
        reasoning: What was thought before; empty for models that do not.
        finish_reason: See :class:`Finished`.
        usage: What it took.
        tokens: The ids that were drawn.
        logprobs: Their log probabilities, if the request asks for them.
        top_logprobs: For each token, ids and log probabilities of the likeliest ones.
    """

    text: str
    reasoning: str
    finish_reason: FinishReason
    usage: Usage
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...]


class Generation:
    """An answer that an engine generates.

    Take its events once: by iteration in a thread (``for``) or in an event loop (``async for``), or all of them as
    :meth:`result`. Events that were taken are dropped, so that memory does not grow with a long answer. A ``with``
    statement cancels what is left at its end.

    Args:
        wake: Tells the engine that the answer was cancelled.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = threading.Condition()  # of its own, so that not every event wakes who waits for the end
        self._listener: Callable[[], None] | None = None
        self._finished: Finished | None = None
        self._snapshot: Snapshot | None = None
        self.is_cancelled = False
        """Whether it was cancelled; the engine ends it soon."""

    @property
    def finished(self) -> Finished | None:
        """The last event, or None while the answer is on its way."""
        return self._finished

    def cancel(self) -> None:
        """End the answer as it is and free its slot. Once it has ended, this does nothing."""
        self.is_cancelled = True
        self._wake()

    def __iter__(self) -> Iterator[Event]:
        """Wait for one event after the other, until the last."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._finished)
                event = self._events.popleft() if self._events else None
            if event is None:
                return
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Wait for one event after the other, until the last, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()

        def listen() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(ready.set)

        with self._changed:
            self._listener = listen
        while True:
            ready.clear()
            is_over = self._finished is not None  # before the events are looked at, so that none is missed
            while self._events:
                yield self._events.popleft()
            if is_over:
                return
            await ready.wait()

    def result(self, timeout: float | None = None) -> Answer:
        """Wait for the end and return the answer of all events that were not taken before.

        Args:
            timeout: Seconds to wait at most; None waits for as long as it takes.

        Raises:
            TimeoutError: It has not ended in that time.
            Exception: The error that ended it.
        """
        with self._ended:
            if not self._ended.wait_for(lambda: self._finished is not None, timeout):
                raise TimeoutError(f"the answer has not ended after {timeout} s")
        last = self._finished
        assert last is not None
        if last.error is not None:
            raise last.error
        tokens = [event for event in self._events if isinstance(event, TokenEvent)]
        pieces = [piece for event in self._events for piece in event.pieces]
        logprobs = [event.logprob for event in tokens if event.logprob is not None]
        return Answer(
            text="".join(piece.text for piece in pieces if piece.channel == "content"),
            reasoning="".join(piece.text for piece in pieces if piece.channel == "reasoning"),
            finish_reason=last.reason,
            usage=last.usage,
            tokens=tuple(event.token for event in tokens),
            logprobs=tuple(logprobs) if logprobs else None,
            top_logprobs=tuple(event.top_logprobs for event in tokens) if logprobs else (),
        )

    def snapshot(self) -> Snapshot:
        """Return the state after the answer, to go on from, if the request keeps it.

        Raises:
            ModRWKVError: The answer has not ended yet, it ended before its prompt was read, or its request does not
                keep the state.
        """
        if self._finished is None:
            raise ModRWKVError("the answer is still being generated", hint="wait for its end, then take the snapshot")
        if self._snapshot is None:
            raise ModRWKVError(
                "there is no state after the answer: its request did not keep it, or the prompt was not read",
                hint="ask again, with `keep_state=True`",
            )
        return self._snapshot

    def deliver(self, event: TokenEvent) -> None:
        """Append an event; the engine calls this."""
        self._append(event)

    def finish(self, event: Finished, snapshot: Snapshot | None = None) -> None:
        """Append the last event, and keep the state after the answer if there is one; the engine calls this."""
        self._snapshot = snapshot
        self._append(event)

    def _append(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)
            if isinstance(event, Finished):
                self._finished = event
            self._changed.notify_all()
            listener = self._listener
        if isinstance(event, Finished):
            with self._ended:
                self._ended.notify_all()
        if listener is not None:
            listener()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
