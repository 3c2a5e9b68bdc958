"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from modrwkv_core.inference.generation import Finished, TokenEvent
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.serving.answers import (
    DONE,
    Collected,
    EventStream,
    ask,
    sse,
    started,
    total_usage,
    unless_disconnected,
)
from modrwkv_core.serving.context import Context, content_types, make_router, stop_texts
from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.logprobs import chat_logprobs
from modrwkv_core.serving.models import Model, sampling
from modrwkv_core.serving.schemas.chat import (
    AnswerMessage,
    ChatChoice,
    ChatRequest,
    ChatResponse,
    ChoiceLogprobs,
    Function,
    ResponseFormat,
    ToolChoice,
)
from modrwkv_core.serving.tools import ToolReader, call_schema, instructions

__all__ = ["chat_router", "format_schema", "prepare"]


def chat_router(context: Context) -> APIRouter:
    """Return the route."""
    router = make_router()

    @router.post("/v1/chat/completions", response_model=ChatResponse, responses=content_types("text/event-stream"))
    async def complete(body: ChatRequest, http: HTTPRequest) -> Response:
        """Answer a conversation."""
        asked = await prepare(context, body)
        answers = await ask(asked.model, asked.requests)
        if body.stream:
            events = await started(http, answers)
            return EventStream(_stream(asked, body, events), answers)
        with answers:
            collected = await unless_disconnected(http, answers.collect())
        return JSONResponse(_response(asked, body, collected).model_dump(mode="json"))

    return router


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is understood.

    Attributes:
        model: What answers.
        requests: One for each answer.
        functions: That may be called.
        must_call: Whether one of them must be.
    """

    model: Model
    requests: tuple[Request, ...]
    functions: tuple[Function, ...]
    must_call: bool

    def tools(self) -> ToolReader:
        """Return what finds the calls in one answer."""
        return ToolReader(self.functions, self.must_call)


async def prepare(
    context: Context, body: ChatRequest, past: Snapshot | None = None, *, keep_state: bool = False
) -> Asked:
    """Read a request.

    Args:
        context: What answers it.
        body: The request.
        past: What the model read before it.
        keep_state: Whether the state after the answer is wanted.

    Raises:
        APIError: The server does not allow it, or cannot do it.
        ModRWKVError: A medium, a schema or a setting is wrong.
    """
    model = context.models[body.model]
    context.check_choices(body.n)
    if body.session is not None:
        owner = await to_thread.run_sync(context.models.of_session, body.session)
        if owner is not model or body.n > 1:
            raise APIError(400, "a session takes one answer at a time, of its own model", param="session")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise APIError(400, "give one of max_tokens and max_completion_tokens", param="max_tokens")
    choice: ToolChoice = body.tool_choice or ("auto" if body.tools else "none")
    functions = tuple(tool.function for tool in body.tools) if choice != "none" else ()
    required = call_schema(functions, choice)
    schema = format_schema(body.response_format)
    if required is not None and schema is not None:
        raise APIError(400, "a required tool and response_format exclude each other", param="response_format")
    constraint = await model.constraint(body.structured_outputs, required or schema)
    turns = await context.messages.turns(model.engine.session, body.messages, instructions(functions))
    top = (body.top_logprobs or 0) if body.logprobs else None
    requests = tuple(
        Request(
            turns,
            max_tokens=context.max_tokens(body.max_tokens or body.max_completion_tokens),
            sampling=sampling(body, index),
            stop=stop_texts(body.stop),
            constraint=constraint,
            top_logprobs=top,
            priority=body.priority,
            session=body.session,
            state=past,
            keep_state=keep_state,
            deadline_s=context.settings.limits.request_seconds,
        )
        for index in range(body.n)
    )
    return Asked(model, requests, functions, required is not None)


def format_schema(wanted: ResponseFormat) -> dict[str, Any] | None:
    """Return the JSON schema that an answer must follow, if any."""
    match wanted.type:
        case "json_object":
            return {"type": "object"}
        case "json_schema":
            return wanted.json_schema.schema_
    return None


def _response(asked: Asked, body: ChatRequest, collected: Sequence[Collected]) -> ChatResponse:
    choices = []
    for index, answer in enumerate(collected):
        tools = asked.tools()
        text = tools.feed(answer.content)
        rest, calls = tools.finish()
        choices.append(
            ChatChoice(
                index=index,
                message=AnswerMessage(
                    content=None if calls else text + rest,
                    reasoning_content=answer.reasoning or None,
                    tool_calls=calls or None,
                ),
                finish_reason="tool_calls" if calls else answer.reason,
                logprobs=ChoiceLogprobs(content=chat_logprobs(asked.model, answer.tokens)) if body.logprobs else None,
            )
        )
    usage = total_usage([answer.end for answer in collected])
    return ChatResponse(id=_identifier(), created=int(time.time()), model=body.model, choices=choices, usage=usage)


async def _stream(
    asked: Asked, body: ChatRequest, events: AsyncIterator[tuple[int, TokenEvent | Finished]]
) -> AsyncIterator[bytes]:
    head = {"id": _identifier(), "object": "chat.completion.chunk", "created": int(time.time()), "model": body.model}
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    tools = [asked.tools() for _ in asked.requests]
    finished: list[Finished] = []

    def line(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        return sse({**head, "choices": choices, **({"usage": usage} if with_usage else {})})

    def choice(index: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
        return line([{"index": index, "delta": delta, "finish_reason": reason, "logprobs": logprobs}])

    for index in range(len(tools)):
        yield choice(index, {"role": "assistant", "content": ""})
    async for index, event in events:
        delta: dict[str, Any] = {}
        for piece in event.pieces:
            key = "content" if piece.channel == "content" else "reasoning_content"
            text = tools[index].feed(piece.text) if key == "content" else piece.text
            if text:
                delta[key] = delta.get(key, "") + text
        if isinstance(event, TokenEvent):
            logprobs = {"content": _dumped(chat_logprobs(asked.model, [event]))} if body.logprobs else None
            if delta or logprobs:
                yield choice(index, delta, logprobs=logprobs)
            continue
        finished.append(event)
        rest, calls = tools[index].finish()
        if rest:
            delta["content"] = delta.get("content", "") + rest
        if calls:
            delta["tool_calls"] = [{"index": place, **call.model_dump()} for place, call in enumerate(calls)]
        if delta:
            yield choice(index, delta)
        yield choice(index, {}, "tool_calls" if calls else event.reason)
    if with_usage:
        yield line([], total_usage(finished).model_dump())
    yield DONE


def _dumped(models: Sequence[Any]) -> list[dict[str, Any]]:
    return [model.model_dump() for model in models]


def _identifier() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"
