"""``/v1/responses``: the chat's answers in the shape of OpenAI's newer protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from modrwkv_core.inference.generation import Finished, TokenEvent
from modrwkv_core.serving.answers import EventStream, ask, sse, started, unless_disconnected
from modrwkv_core.serving.chat import Asked, prepare
from modrwkv_core.serving.context import Context, content_types, make_router
from modrwkv_core.serving.errors import invalid_value
from modrwkv_core.serving.response_items import ResponseWriter
from modrwkv_core.serving.schemas.chat import ChatRequest
from modrwkv_core.serving.schemas.responses import (
    DeletedResponse,
    FunctionCallItem,
    FunctionOutputItem,
    InputItem,
    MessageItem,
    ResponseBody,
    ResponsesRequest,
)

__all__ = ["responses_router"]


def responses_router(context: Context) -> APIRouter:
    """Return the routes."""
    router = make_router()

    @router.post("/v1/responses", response_model=ResponseBody, responses=content_types("text/event-stream"))
    async def respond(body: ResponsesRequest, http: HTTPRequest) -> Response:
        """Answer a text or a conversation."""
        previous = body.previous_response_id
        past = None if previous is None else context.responses.get(previous, body.model)
        is_stored = body.store is not False
        asked = await prepare(context, _as_chat(body), past, keep_state=is_stored)
        answers = await ask(asked.model, asked.requests)
        events = await started(http, answers)
        writer = ResponseWriter(body)

        def keep() -> None:
            if is_stored:
                context.responses.keep(writer.id, body.model, answers.generations[0].snapshot())

        written = _written(writer, asked, events, keep)
        if body.stream:
            return EventStream(_stream(writer, written), answers)
        with answers:
            return JSONResponse(await unless_disconnected(http, _collect(writer, written)))

    @router.delete("/v1/responses/{response}")
    async def delete(response: str) -> DeletedResponse:
        """Forget what later responses could go on from."""
        context.responses.delete(response)
        return DeletedResponse(id=response)

    return router


async def _collect(writer: ResponseWriter, written: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    async for _ in written:
        pass
    return writer.response()


async def _stream(writer: ResponseWriter, written: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    for event in writer.begin():
        yield sse(event, event["type"])
    async for event in written:
        yield sse(event, event["type"])


async def _written(
    writer: ResponseWriter,
    asked: Asked,
    events: AsyncIterator[tuple[int, TokenEvent | Finished]],
    keep: Callable[[], None],
) -> AsyncIterator[dict[str, Any]]:
    tools = asked.tools()
    async for _, event in events:
        for piece in event.pieces:
            text = tools.feed(piece.text) if piece.channel == "content" else piece.text
            if text:
                for written in writer.text(piece.channel, text):
                    yield written
        if isinstance(event, Finished):
            keep()  # before the client can go on from it
            rest, calls = tools.finish()
            for written in writer.text("content", rest) if rest else ():
                yield written
            for written in writer.end(event, calls):
                yield written


def _as_chat(body: ResponsesRequest) -> ChatRequest:
    """Return the same request to the chat.

    Raises:
        APIError: The chat does not take it.
    """
    items: Sequence[InputItem] = (
        [MessageItem(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    )
    messages = [{"role": "system", "content": body.instructions}] if body.instructions else []
    choice = body.tool_choice
    wanted = body.text.format.model_dump(by_alias=True, exclude_none=True)
    kind = wanted.pop("type")
    try:
        return ChatRequest.model_validate(
            {
                "model": body.model,
                "messages": [*messages, *(message for item in items for message in _messages(item))],
                "max_tokens": body.max_output_tokens,
                "temperature": body.temperature,
                "top_p": body.top_p,
                "tools": [
                    {"type": "function", "function": tool.model_dump(exclude={"type"}, exclude_none=True)}
                    for tool in body.tools
                ],
                "tool_choice": choice
                if choice is None or isinstance(choice, str)
                else {"type": "function", "function": {"name": choice.name}},
                "response_format": {"type": kind, **({"json_schema": wanted} if wanted else {})},
            }
        )
    except ValidationError as error:  # such as media in a system's message
        first = error.errors(include_url=False)[0]
        raise invalid_value(first["loc"], first["msg"]) from error


def _messages(item: InputItem) -> list[dict[str, Any]]:
    match item:
        case MessageItem(content=str(text)):
            return [{"role": item.role, "content": text}]
        case MessageItem():
            parts = [part.model_dump(exclude_none=True) for part in item.content if not isinstance(part, str)]
            return [{"role": item.role, "content": [_part(part) for part in parts]}]
        case FunctionCallItem():
            call = {"id": item.call_id, "function": {"name": item.name, "arguments": item.arguments}}
            return [{"role": "assistant", "tool_calls": [call]}]
        case FunctionOutputItem():
            return [{"role": "tool", "tool_call_id": item.call_id, "content": item.output}]
    return []  # what the model thought before is not read again


def _part(part: dict[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "input_text" | "output_text":
            return {"type": "text", "text": part["text"]}
        case "input_image":
            return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part["detail"]}}
    return part
