"""However much of a request is wrong, few errors are made of it: each takes memory, more than what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from modrwkv_core.serving.schemas.chat import ChatRequest
from modrwkv_core.serving.schemas.completions import CompletionRequest
from modrwkv_core.serving.schemas.forecast import ForecastRequest
from modrwkv_core.serving.schemas.responses import ResponsesRequest

MANY = 2_000
WRONG: Any = [None] * MANY
UNKNOWN = {f"x{number}": 0 for number in range(MANY)}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ChatRequest, {**CHAT, "messages": WRONG}),
        (ChatRequest, {**CHAT, "messages": [{"role": "user", "content": WRONG}]}),
        (ChatRequest, {**CHAT, "messages": [{"role": "system", "content": WRONG}]}),
        (ChatRequest, {**CHAT, "messages": [{"role": "assistant", "tool_calls": WRONG}]}),
        (ChatRequest, {**CHAT, "messages": [{"role": "user", "content": "Hello", **UNKNOWN}]}),
        (ChatRequest, {**CHAT, "stop": WRONG}),
        (ChatRequest, {**CHAT, "tools": WRONG}),
        (ChatRequest, {**CHAT, "structured_outputs": {"choice": WRONG}}),
        (ChatRequest, {**CHAT, "logit_bias": UNKNOWN}),
        (ChatRequest, {**CHAT, **UNKNOWN}),
        (CompletionRequest, {"model": "tiny", "prompt": WRONG}),
        (ForecastRequest, {"model": "tiny", "horizon": 1, "values": WRONG}),
        (ForecastRequest, {"model": "tiny", "horizon": 1, "values": [WRONG] * 2}),
        (ForecastRequest, {"model": "tiny", "horizon": 1, "values": [1.0], "quantiles": WRONG}),
        (ResponsesRequest, {"model": "tiny", "input": WRONG}),
        (ResponsesRequest, {"model": "tiny", "input": [{"role": "user", "content": WRONG}]}),
        (ResponsesRequest, {"model": "tiny", "input": "Hello", "tools": WRONG}),
        (ResponsesRequest, {"model": "tiny", "input": "Hello", "metadata": dict.fromkeys(UNKNOWN)}),
    ],
)
def test_much_that_is_wrong_makes_few_errors(kind: type[BaseModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(body)
    assert caught.value.error_count() <= 3
