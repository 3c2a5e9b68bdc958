"""What several routes share: sampling, structured outputs, usage, media."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    model_validator,
)

__all__ = [
    "JSONObject",
    "JsonSchemaFormat",
    "ListOf",
    "Numbers",
    "SamplingFields",
    "Schema",
    "SeriesData",
    "StructuredOutputs",
    "Usage",
    "at_most",
]

_BIASES: Final = 1024
"""Tokens whose logits one request shifts, at most."""

_FIELDS: Final = 64
"""Of an object at most, more than any has: each unknown one is an error of its own, and takes memory."""

ItemT = TypeVar("ItemT")

ListOf: TypeAlias = Annotated[list[ItemT], Field(fail_fast=True)]
"""A list whose first wrong item is its only error: a small body can hold millions of them."""

Numbers: TypeAlias = ListOf[FiniteFloat] | ListOf[ListOf[FiniteFloat]]


def at_most(entries: int) -> BeforeValidator:
    """Return what refuses an object of more entries before it looks at any of them."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > entries:
            raise ValueError(f"{len(value):,} entries, the limit is {entries:,}")
        return value

    return BeforeValidator(check)


def _has_finite_numbers(value: dict[str, Any]) -> dict[str, Any]:
    json.dumps(value, allow_nan=False)  # 1e999 is JSON, and infinite
    return value


JSONObject: TypeAlias = Annotated[dict[str, Any], AfterValidator(_has_finite_numbers)]
"""An object that can be written as JSON again."""


class Schema(BaseModel):
    """A body in which unknown fields are errors: none is ignored silently."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_small(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > _FIELDS:
            raise ValueError(f"{len(value):,} fields, most of them unknown")
        return value


class SeriesData(Schema):
    """A series: numbers, or a file.

    Attributes:
        values: ``[points]`` or ``[points, channels]``, in units of its own.
        data: A CSV or NumPy file in base64.
    """

    values: Numbers | None = None
    data: str | None = None

    @model_validator(mode="after")
    def _has_one(self) -> SeriesData:
        if (self.values is None) == (self.data is None):
            raise ValueError("give one of values and data")
        return self


class StructuredOutputs(Schema):
    """What an answer must look like, apart from JSON: vLLM's names.

    Attributes:
        regex: An expression that the whole answer matches.
        choice: Answers of which it is one.
    """

    regex: str | None = None
    choice: Annotated[ListOf[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_one(self) -> StructuredOutputs:
        if (self.regex is None) == (self.choice is None):
            raise ValueError("give one of regex and choice")
        return self


class JsonSchemaFormat(Schema):
    """A JSON schema with a name."""

    name: str
    description: str | None = None
    schema_: Annotated[JSONObject, Field(alias="schema")] = {}
    strict: bool | None = None


class SamplingFields(Schema):
    """How tokens are drawn; OpenAI's fields, and those that vLLM adds under its names.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_p: Draw among the likeliest tokens of this probability.
        top_k: Draw among so many tokens; 0 sets no limit.
        min_p: Draw among tokens of at least this share of the likeliest one's probability.
        typical_p: Draw among typical tokens of this probability.
        seed: Makes the draw repeatable.
        logit_bias: What is added to the logits of tokens, of up to 1,024.
    """

    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    typical_p: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0
    repetition_penalty: Annotated[FiniteFloat, Field(ge=0.1, le=10)] = 1.0
    presence_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[FiniteFloat, Field(ge=-2, le=2)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    logit_bias: Annotated[
        dict[Annotated[int, Field(ge=0)], Annotated[FiniteFloat, Field(ge=-100, le=100)]], at_most(_BIASES)
    ] = {}


class TokenDetails(BaseModel):
    """Of the tokens of a prompt, those that a cache knew."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails


Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
