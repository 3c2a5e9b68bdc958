"""Tools: how a model is told of them, and how its calls are read.

A model reads what tools there are in the system turn, as JSON, and calls one by writing
``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, as Hermes and Qwen models do. Where a call is required,
the answer is constrained to such an object.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any, Final

from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.json_body import parse_json
from modrwkv_core.serving.schemas.chat import Function, FunctionCall, NamedTool, ToolCall, ToolChoice

__all__ = ["ToolReader", "call_schema", "called_text", "instructions", "returned_text"]

_OPENING: Final = "<tool_call>"
_CLOSING: Final = "</tool_call>"


def instructions(functions: Sequence[Function]) -> str:
    """Return what the model is told about ``functions``."""
    if not functions:
        return ""
    listed = "\n".join(
        json.dumps(function.model_dump(include={"name", "description", "parameters"}), ensure_ascii=False)
        for function in functions
    )
    return (
        f"You can call functions. These are their names, descriptions and JSON schemas of their arguments:\n{listed}\n"
        f'To call one, answer only with {_OPENING}{{"name": ..., "arguments": {{...}}}}{_CLOSING}.'
    )


def call_schema(functions: Sequence[Function], choice: ToolChoice) -> dict[str, Any] | None:
    """Return the JSON schema of a call that must be made; None if none must be.

    Raises:
        APIError: The chosen function does not exist, or there are none.
    """
    if choice in ("none", "auto"):
        return None
    chosen = [one for one in functions if not isinstance(choice, NamedTool) or one.name == choice.function.name]
    if not chosen:
        raise APIError(400, "tool_choice names no function of tools", param="tool_choice", code="invalid_value")
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function.name},
                "arguments": function.parameters or {"type": "object", "additionalProperties": False},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for function in chosen
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


class ToolReader:
    """Tells the calls of an answer that arrives token by token from its text.

    What may be the beginning of a call is held back until it is decided.

    Args:
        functions: That may be called; none leaves all text as it is.
        must_call: Whether the answer is the object of one call, as the schema of :func:`call_schema` makes it.
    """

    def __init__(self, functions: Sequence[Function], must_call: bool) -> None:
        self._functions = functions
        self._must_call = must_call
        self._held = ""
        self._is_text = not functions

    def feed(self, text: str) -> str:
        """Return the text that is none of a call, as far as that is known by now."""
        if self._is_text:
            return text
        self._held += text
        beginning = self._held.lstrip()[: len(_OPENING)]
        if self._must_call or _OPENING.startswith(beginning):
            return ""
        self._is_text = True
        held, self._held = self._held, ""
        return held

    def finish(self) -> tuple[str, list[ToolCall]]:
        """Return what is still held back: text, or calls."""
        if self._must_call:
            call = _call(self._held, self._functions)
            calls = [] if call is None else [call]
        else:
            calls = _calls(self._held, self._functions)
        return ("", calls) if calls else (self._held, [])


def _calls(text: str, functions: Sequence[Function]) -> list[ToolCall]:
    """Return the calls that ``text`` consists of; none if it is anything else."""
    calls = []
    rest = text.strip()
    while rest.startswith(_OPENING):
        body, closing, rest = rest.removeprefix(_OPENING).partition(_CLOSING)
        call = _call(body, functions)
        if call is None or not closing:
            return []
        calls.append(call)
        rest = rest.lstrip()
    return [] if rest else calls


def _call(text: str, functions: Sequence[Function]) -> ToolCall | None:
    """Return the call that ``text`` is as JSON; None if it calls no function of ``functions``."""
    try:
        call = parse_json(text)
    except ValueError:
        return None
    match call:
        case {"name": str(name), "arguments": dict(arguments)} if any(one.name == name for one in functions):
            function = FunctionCall(name=name, arguments=json.dumps(arguments, ensure_ascii=False))
            return ToolCall(id=f"call_{uuid.uuid4().hex[:24]}", function=function)
    return None


def called_text(call: ToolCall) -> str:
    """Return how a former call stands in the assistant's turn.

    Raises:
        APIError: Its arguments are not JSON, or not that of :func:`parse_json`.
    """
    try:
        arguments = parse_json(call.function.arguments or "{}")
    except ValueError as error:
        message = f"the arguments of a tool call are not JSON that is read here: {error}"
        raise APIError(400, message, param="messages", code="invalid_value") from error
    body = json.dumps({"name": call.function.name, "arguments": arguments}, ensure_ascii=False)
    return f"{_OPENING}{body}{_CLOSING}"


def returned_text(text: str) -> str:
    """Return how the result of a tool stands in the user's turn."""
    return f"<tool_response>{text}</tool_response>"
