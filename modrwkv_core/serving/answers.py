"""The answers to one HTTP request: generations of an engine that end when the client goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeVar

from anyio import to_thread
from fastapi import Request as HTTPRequest
from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from modrwkv_core.inference.generation import Finished, Generation, TokenEvent
from modrwkv_core.inference.request import Request
from modrwkv_core.serving.errors import APIError, as_api_error, deadline_exceeded
from modrwkv_core.serving.models import Model
from modrwkv_core.serving.schemas.common import TokenDetails, Usage

__all__ = [
    "DONE",
    "Answers",
    "Collected",
    "EventStream",
    "ask",
    "sse",
    "started",
    "total_usage",
    "unless_disconnected",
]

DONE: Final = b"data: [DONE]\n\n"
"""The last event of a stream."""

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Collected:
    """A complete answer.

    Attributes:
        content: The answer.
        reasoning: What the model thought before it.
        tokens: One by one.
        finished: Why it ended, and what it took.
    """

    content: str = ""
    reasoning: str = ""
    tokens: list[TokenEvent] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def end(self) -> Finished:
        """The last event of the answer, which is complete."""
        assert self.finished is not None
        return self.finished

    @property
    def reason(self) -> Literal["stop", "length"]:
        """Why the answer, which is complete, ended."""
        return "length" if self.end.reason == "length" else "stop"

    def add(self, event: TokenEvent | Finished) -> None:
        """Take the next event."""
        for piece in event.pieces:
            if piece.channel == "content":
                self.content += piece.text
            else:
                self.reasoning += piece.text
        if isinstance(event, TokenEvent):
            self.tokens.append(event)
        else:
            self.finished = event


class Answers:
    """Generations that answer one HTTP request; :func:`ask` makes them.

    Args:
        model: What answers.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._began = time.perf_counter()
        self._session: str | None = None
        self.generations: list[Generation] = []

    async def add(self, request: Request) -> None:
        """Queue one more; see :func:`ask`."""
        if request.session is None:
            self.generations.append(self._model.engine.submit(request))
        else:
            self._session = request.session
            await to_thread.run_sync(self._go_on, request)

    def _go_on(self, request: Request) -> None:
        self.generations.append(self._model.sessions.submit(request))  # it may read a file

    def cancel(self) -> None:
        """End what is not complete, and free its slots."""
        for generation in self.generations:
            generation.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    async def events(self) -> AsyncIterator[tuple[int, TokenEvent | Finished]]:
        """Yield the events of all answers as they come, with the answer's index.

        Raises:
            APIError: An answer took too long, or the server is about to stop.
            WriteError: The answer belongs to a saved session, and cannot be saved.
        """
        source = _numbered(self.generations[0]) if len(self.generations) == 1 else _merged(self.generations)
        first = True
        async for index, event in source:
            if isinstance(event, TokenEvent):
                if first:
                    self._model.metrics.first_token(self._model.name, time.perf_counter() - self._began)
                    first = False
            else:
                _check(event)
                if self._session is not None:  # what the client knows to be complete survives a crash
                    await to_thread.run_sync(self._model.sessions.flush, self._session)
                self._model.metrics.finished(self._model.name, event)
            yield index, event

    async def collect(self) -> list[Collected]:
        """Return all answers when they are complete."""
        collected = [Collected() for _ in self.generations]
        async for index, event in self.events():
            collected[index].add(event)
        return collected


async def ask(model: Model, requests: Sequence[Request]) -> Answers:
    """Queue ``requests``, one for each answer.

    Raises:
        QueueFullError: The engine's queue has no place for all of them; then none is queued.
        ModRWKVError: The model cannot answer one of them.
    """
    answers = Answers(model)
    try:
        for request in requests:
            await answers.add(request)
    except BaseException:
        answers.cancel()
        raise
    return answers


def total_usage(finished: Sequence[Finished], choices: int | None = None) -> Usage:
    """Return what answers took together; a prompt counts once for all its answers, as OpenAI counts it.

    Args:
        finished: The ends of all answers, those to the same prompt in succession.
        choices: Answers to each prompt; by default all of them answer the same one.
    """
    groups = [
        finished[at : at + (choices or len(finished))] for at in range(0, len(finished), choices or len(finished))
    ]
    prompt = sum(group[0].usage.prompt_tokens for group in groups)
    completion = sum(one.usage.completion_tokens for one in finished)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=TokenDetails(
            cached_tokens=sum(min(one.usage.cached_tokens for one in group) for group in groups)
        ),
    )


def _check(finished: Finished) -> None:
    if finished.reason == "error":
        assert finished.error is not None
        raise finished.error
    if finished.reason == "deadline":
        raise deadline_exceeded("ask for fewer tokens")
    if finished.reason == "cancelled":
        raise APIError(503, "the server is about to stop", code="shutting_down", headers={"Retry-After": "5"})


async def _numbered(generation: Generation) -> AsyncIterator[tuple[int, TokenEvent | Finished]]:
    async for event in generation:
        yield 0, event


async def _merged(generations: Sequence[Generation]) -> AsyncIterator[tuple[int, TokenEvent | Finished]]:
    queue: asyncio.Queue[tuple[int, TokenEvent | Finished]] = asyncio.Queue()

    async def forward(index: int, generation: Generation) -> None:
        async for event in generation:
            queue.put_nowait((index, event))

    tasks = [asyncio.ensure_future(forward(*each)) for each in enumerate(generations)]
    try:
        left = len(tasks)
        while left:
            index, event = await queue.get()
            left -= isinstance(event, Finished)
            yield index, event
    finally:
        for task in tasks:
            task.cancel()


async def unless_disconnected(request: HTTPRequest, work: Awaitable[ResultT]) -> ResultT:
    """Return what ``work`` returns; cancel it when the client goes away.

    Args:
        request: Whose body has been read.
        work: What the client waits for.

    Raises:
        APIError: The client is gone; nobody will read it.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise APIError(499, "the client closed the connection", code="client_closed_request")
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def started(request: HTTPRequest, answers: Answers) -> AsyncIterator[tuple[int, TokenEvent | Finished]]:
    """Return the events of ``answers`` once the first has come: what fails before has a status of its own.

    Raises:
        APIError: The client went away, or the answers failed.
        ModRWKVError: The model cannot answer.
    """
    events = answers.events()
    try:
        first = await unless_disconnected(request, anext(events))
    except BaseException:
        answers.cancel()
        raise

    async def all_events() -> AsyncIterator[tuple[int, TokenEvent | Finished]]:
        yield first
        async for event in events:
            yield event

    return all_events()


async def _disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """Server-sent events; ``answers`` end with the connection, wherever it breaks."""

    media_type = "text/event-stream"

    def __init__(self, lines: AsyncIterator[bytes], answers: Answers) -> None:
        super().__init__(_with_error(lines), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answers.cancel()


async def _with_error(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass ``lines`` on, and tell the client if they fail: the status was sent long ago."""
    try:
        async for line in lines:
            yield line
    except Exception as error:
        yield sse(as_api_error(error).body())


def sse(content: dict[str, Any], event: str | None = None) -> bytes:
    """Return a server-sent event."""
    data = b"data: %b\n\n" % to_json(content)
    return data if event is None else b"event: %b\n%b" % (event.encode(), data)
