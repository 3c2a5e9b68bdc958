"""``POST /v1/completions``."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from modrwkv_core.inference.generation import Finished, TokenEvent
from modrwkv_core.inference.request import Request
from modrwkv_core.serving.answers import DONE, EventStream, ask, sse, started, total_usage, unless_disconnected
from modrwkv_core.serving.context import Context, content_types, make_router, stop_texts
from modrwkv_core.serving.logprobs import completion_logprobs
from modrwkv_core.serving.models import Model, sampling
from modrwkv_core.serving.schemas.completions import CompletionChoice, CompletionRequest, CompletionResponse

__all__ = ["completions_router"]


def completions_router(context: Context) -> APIRouter:
    """Return the route."""
    router = make_router()

    @router.post("/v1/completions", response_model=CompletionResponse, responses=content_types("text/event-stream"))
    async def complete(body: CompletionRequest, http: HTTPRequest) -> Response:
        """Continue a text."""
        model = context.models[body.model]
        answers = await ask(model, _requests(context, body))
        if body.stream:
            return EventStream(_stream(model, body, await started(http, answers)), answers)
        with answers:
            collected = await unless_disconnected(http, answers.collect())
        choices = [
            CompletionChoice(
                index=index,
                text=answer.content,
                finish_reason=answer.reason,
                logprobs=None if body.logprobs is None else completion_logprobs(model, answer.tokens),
            )
            for index, answer in enumerate(collected)
        ]
        usage = total_usage([answer.end for answer in collected], body.n)
        response = CompletionResponse(
            id=_identifier(), created=int(time.time()), model=body.model, choices=choices, usage=usage
        )
        return JSONResponse(response.model_dump(mode="json"))

    return router


def _requests(context: Context, body: CompletionRequest) -> list[Request]:
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    context.check_choices(len(prompts) * body.n)
    return [
        Request(
            prompt=prompt,
            max_tokens=context.max_tokens(body.max_tokens),
            sampling=sampling(body, choice),
            stop=stop_texts(body.stop),
            top_logprobs=body.logprobs,
            priority=body.priority,
            deadline_s=context.settings.limits.request_seconds,
        )
        for prompt in prompts
        for choice in range(body.n)
    ]


async def _stream(
    model: Model, body: CompletionRequest, events: AsyncIterator[tuple[int, TokenEvent | Finished]]
) -> AsyncIterator[bytes]:
    head = {"id": _identifier(), "object": "text_completion", "created": int(time.time()), "model": body.model}
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    finished: dict[int, Finished] = {}
    offsets: dict[int, int] = {}

    def line(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        return sse({**head, "choices": choices, **({"usage": usage} if with_usage else {})})

    async for index, event in events:
        text = "".join(piece.text for piece in event.pieces)
        logprobs, reason = None, None
        if isinstance(event, Finished):
            finished[index] = event
            reason = event.reason
        elif body.logprobs is not None:
            logprobs = completion_logprobs(model, [event], offsets.get(index, 0)).model_dump()
            offsets[index] = offsets.get(index, 0) + len(logprobs["tokens"][0])
        if text or logprobs or reason:
            yield line([{"index": index, "text": text, "finish_reason": reason, "logprobs": logprobs}])
    if with_usage:
        ordered = [finished[index] for index in sorted(finished)]
        yield line([], total_usage(ordered, body.n).model_dump())
    yield DONE


def _identifier() -> str:
    return f"cmpl-{uuid.uuid4().hex}"
