"""Writes a response of ``/v1/responses`` and the events of its stream, item by item."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from modrwkv_core.inference.generation import Finished
from modrwkv_core.serving.answers import total_usage
from modrwkv_core.serving.schemas.chat import ToolCall
from modrwkv_core.serving.schemas.responses import ResponseBody, ResponsesRequest, ResponseUsage

__all__ = ["ResponseWriter"]


class ResponseWriter:
    """Writes one response.

    Args:
        request: What it responds to.
    """

    def __init__(self, request: ResponsesRequest) -> None:
        self._request = request
        self.id: Final = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._output: list[dict[str, Any]] = []
        self._channel: Literal["content", "reasoning"] | None = None
        self._text = ""
        self._finished: Finished | None = None
        self._events = 0

    def response(self) -> dict[str, Any]:
        """Return the response as far as it is written."""
        body, finished = self._request, self._finished
        usage = None
        if finished is not None:
            total = total_usage([finished])
            usage = ResponseUsage(
                input_tokens=total.prompt_tokens,
                input_tokens_details=total.prompt_tokens_details,
                output_tokens=total.completion_tokens,
                total_tokens=total.total_tokens,
            )
        cut = finished is not None and finished.reason == "length"
        choice = body.tool_choice or ("auto" if body.tools else "none")
        return ResponseBody(
            id=self.id,
            created_at=self._created,
            completed_at=None if finished is None or cut else int(time.time()),
            status="in_progress" if finished is None else "incomplete" if cut else "completed",
            incomplete_details={"reason": "max_output_tokens"} if cut else None,
            instructions=body.instructions,
            max_output_tokens=body.max_output_tokens,
            metadata=body.metadata or {},
            model=body.model,
            output=list(self._output),
            parallel_tool_calls=body.parallel_tool_calls,
            previous_response_id=body.previous_response_id,
            store=body.store is not False,
            temperature=body.temperature,
            text=body.text.model_dump(by_alias=True, exclude_none=True),
            tool_choice=choice if isinstance(choice, str) else choice.model_dump(),
            tools=[{"parameters": None, "strict": None, **tool.model_dump()} for tool in body.tools],
            top_p=body.top_p,
            usage=usage,
        ).model_dump(mode="json")

    def begin(self) -> Iterator[dict[str, Any]]:
        """Yield the first events."""
        yield self._event("response.created", response=self.response())
        yield self._event("response.in_progress", response=self.response())

    def text(self, channel: Literal["content", "reasoning"], text: str) -> Iterator[dict[str, Any]]:
        """Write some of the answer, or of what is thought before it."""
        if channel != self._channel:
            yield from self._close()
            yield from self._open(channel)
        self._text += text
        yield self._event(f"response.{self._kind}.delta", **self._place, delta=text, **self._logprobs)

    def end(self, finished: Finished, calls: Sequence[ToolCall]) -> Iterator[dict[str, Any]]:
        """Write the calls of functions, and the end."""
        if not calls and self._channel != "content":  # an empty answer is one, too
            yield from self._close()
            yield from self._open("content")
        yield from self._close()
        for call in calls:
            yield from self._call(call)
        self._finished = finished
        kind = "incomplete" if finished.reason == "length" else "completed"
        yield self._event(f"response.{kind}", response=self.response())

    @property
    def _kind(self) -> str:
        return "output_text" if self._channel == "content" else "reasoning_text"

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {"logprobs": []} if self._channel == "content" else {}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1, "content_index": 0}

    def _part(self) -> dict[str, Any]:
        part: dict[str, Any] = {"type": self._kind, "text": self._text}
        return part | ({"annotations": [], "logprobs": []} if self._channel == "content" else {})

    def _open(self, channel: Literal["content", "reasoning"]) -> Iterator[dict[str, Any]]:
        self._channel, self._text = channel, ""
        item: dict[str, Any] = {"id": f"msg_{uuid.uuid4().hex}", "status": "in_progress", "content": []}
        item |= (
            {"type": "message", "role": "assistant"} if channel == "content" else {"type": "reasoning", "summary": []}
        )
        self._output.append(item)
        yield self._event("response.output_item.added", output_index=len(self._output) - 1, item=dict(item))
        yield self._event("response.content_part.added", **self._place, part=self._part())

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._channel is None:
            return
        item = self._output[-1]
        item["status"], item["content"] = "completed", [self._part()]
        yield self._event(f"response.{self._kind}.done", **self._place, text=self._text, **self._logprobs)
        yield self._event("response.content_part.done", **self._place, part=self._part())
        yield self._event("response.output_item.done", output_index=len(self._output) - 1, item=dict(item))
        self._channel = None

    def _call(self, call: ToolCall) -> Iterator[dict[str, Any]]:
        arguments = call.function.arguments
        item = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call.id, "name": call.function.name}
        self._output.append({**item, "status": "completed", "arguments": arguments})
        index = len(self._output) - 1
        place = {"item_id": item["id"], "output_index": index}
        opened = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("response.output_item.added", output_index=index, item=opened)
        yield self._event("response.function_call_arguments.delta", **place, delta=arguments)
        yield self._event("response.function_call_arguments.done", **place, name=item["name"], arguments=arguments)
        yield self._event("response.output_item.done", output_index=index, item=dict(self._output[-1]))

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._events += 1
        return {"type": kind, "sequence_number": self._events - 1, **fields}
