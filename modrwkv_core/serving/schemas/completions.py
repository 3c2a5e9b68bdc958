"""Bodies of ``/v1/completions``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from modrwkv_core.serving.schemas.chat import StreamOptions
from modrwkv_core.serving.schemas.common import ListOf, SamplingFields, Usage

__all__ = ["CompletionChoice", "CompletionLogprobs", "CompletionRequest", "CompletionResponse"]


class CompletionRequest(SamplingFields):
    """A text to continue, without any chat template."""

    model: str
    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[ListOf[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    )
    max_tokens: Annotated[int, Field(ge=1)] = 16
    n: Annotated[int, Field(ge=1)] = 1
    stop: str | ListOf[str] | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    user: str | None = None


class CompletionLogprobs(BaseModel):
    """Log-probabilities of a continuation; offsets count its characters."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    logprobs: CompletionLogprobs | None = None


class CompletionResponse(BaseModel):
    """The continuations of all prompts, ``n`` of each in turn."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
