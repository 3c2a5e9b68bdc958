"""Bodies of ``/v1/chat/completions``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from modrwkv_core.serving.schemas.common import (
    JSONObject,
    JsonSchemaFormat,
    ListOf,
    SamplingFields,
    Schema,
    SeriesData,
    StructuredOutputs,
    Usage,
)

__all__ = [
    "AssistantMessage",
    "ChatRequest",
    "ChatResponse",
    "ContentPart",
    "Function",
    "ImageUrl",
    "InputAudio",
    "Message",
    "ResponseFormat",
    "Tool",
    "ToolChoice",
]


class TextPart(Schema):
    """Words."""

    type: Literal["text"]
    text: str


class ImageUrl(Schema):
    """An image as a data URI, or an address on the web where the server allows that."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Schema):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Schema):
    """A sound file in base64."""

    data: str
    format: Literal["wav", "mp3", "flac", "ogg", "opus"]


class AudioPart(Schema):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class SeriesPart(Schema):
    """A series of measurements."""

    type: Literal["input_series"]
    input_series: SeriesData


ContentPart: TypeAlias = Annotated[TextPart | ImagePart | AudioPart | SeriesPart, Field(discriminator="type")]


class FunctionCall(Schema):
    """A call of a function, its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(Schema):
    """A call that the model asks for."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class SystemMessage(Schema):
    """Instructions."""

    role: Literal["system", "developer"]
    content: str | ListOf[TextPart]
    name: str | None = None


class UserMessage(Schema):
    """What the user says and shows."""

    role: Literal["user"]
    content: str | ListOf[ContentPart]
    name: str | None = None


class AssistantMessage(Schema):
    """What the model answered."""

    role: Literal["assistant"]
    content: str | ListOf[TextPart] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: ListOf[ToolCall] | None = None


class ToolMessage(Schema):
    """What a tool returned."""

    role: Literal["tool"]
    content: str | ListOf[TextPart]
    tool_call_id: str


Message: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class Function(Schema):
    """A function that the model may call."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: JSONObject = Field(default_factory=dict)
    strict: bool | None = None


class Tool(Schema):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class NamedFunction(Schema):
    """The name of a function."""

    name: str


class NamedTool(Schema):
    """The one function that must be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedTool


class TextFormat(Schema):
    """Any text."""

    type: Literal["text"]


class JsonObject(Schema):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(Schema):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchemaFormat


ResponseFormat: TypeAlias = Annotated[TextFormat | JsonObject | JsonSchema, Field(discriminator="type")]


class StreamOptions(Schema):
    """What a stream tells besides the answer."""

    include_usage: bool = False


class ChatRequest(SamplingFields):
    """A conversation to go on with.

    Attributes:
        session: Of ``/v1/sessions``: its past stands before ``messages``, and the answer joins it.
        priority: Requests of a higher number go first.
    """

    model: str
    messages: Annotated[ListOf[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    n: Annotated[int, Field(ge=1)] = 1
    stop: str | ListOf[str] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat = TextFormat(type="text")
    structured_outputs: StructuredOutputs | None = None
    tools: ListOf[Tool] = Field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    session: str | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    user: str | None = None


class TopLogprob(BaseModel):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A token of the answer, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    """Log-probabilities of an answer."""

    content: list[TokenLogprob]


class AnswerMessage(BaseModel):
    """An answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    reasoning_content: str | None = None
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls"]
    logprobs: ChoiceLogprobs | None = None


class ChatResponse(BaseModel):
    """The answers to a request."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
