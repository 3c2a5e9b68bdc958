"""Bodies of ``/v1/responses``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, FiniteFloat, Tag

from modrwkv_core.serving.schemas.chat import InputAudio
from modrwkv_core.serving.schemas.common import JSONObject, ListOf, Schema, SeriesData, TokenDetails, at_most

__all__ = [
    "FunctionCallItem",
    "FunctionOutputItem",
    "InputItem",
    "MessageItem",
    "ReasoningItem",
    "ResponseBody",
    "ResponseUsage",
    "ResponsesRequest",
]


class InputText(Schema):
    """Words."""

    type: Literal["input_text"]
    text: str


class OutputText(Schema):
    """Words of a former answer."""

    type: Literal["output_text"]
    text: str
    annotations: ListOf[Any] = Field(default_factory=list)
    logprobs: ListOf[Any] | None = None


class InputImage(Schema):
    """An image as a data URI, or an address on the web where the server allows that."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] = "auto"


class InputAudioItem(Schema):
    """A recording."""

    type: Literal["input_audio"]
    input_audio: InputAudio


class InputSeries(Schema):
    """A series of measurements."""

    type: Literal["input_series"]
    input_series: SeriesData


InputPart: TypeAlias = Annotated[
    InputText | OutputText | InputImage | InputAudioItem | InputSeries, Field(discriminator="type")
]


class MessageItem(Schema):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | ListOf[InputPart]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCallItem(Schema):
    """A call that the model asked for."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class FunctionOutputItem(Schema):
    """What a function returned."""

    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: str | None = None
    status: str | None = None


class ReasoningItem(Schema):
    """What the model thought before; it is not read again."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: ListOf[Any] = Field(default_factory=list)
    content: ListOf[Any] | None = None
    encrypted_content: str | None = None
    status: str | None = None


def _kind(item: Any) -> Any:
    return item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)


InputItem: TypeAlias = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class PlainText(Schema):
    """Any text."""

    type: Literal["text"]


class AnyObject(Schema):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaText(Schema):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: str
    description: str | None = None
    schema_: Annotated[JSONObject, Field(alias="schema")]
    strict: bool | None = None


class TextOptions(Schema):
    """The form of the answer."""

    format: Annotated[PlainText | AnyObject | SchemaText, Field(discriminator="type")] = PlainText(type="text")


class FunctionTool(Schema):
    """A function that the model may call."""

    type: Literal["function"]
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None


class ChosenFunction(Schema):
    """The one function that must be called."""

    type: Literal["function"]
    name: str


class ResponsesRequest(Schema):
    """What to answer.

    Attributes:
        previous_response_id: Its conversation stands before ``input``, with the instructions of that time.
        store: Whether later responses may go on from this one, for which the server keeps the state after it.
    """

    model: str
    input: str | Annotated[ListOf[InputItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[FiniteFloat, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0
    stream: bool = False
    text: TextOptions = TextOptions()
    tools: ListOf[FunctionTool] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: Annotated[dict[str, str], at_most(16)] | None = None
    user: str | None = None


class OutputDetails(BaseModel):
    """Of the tokens of an answer, those of its reasoning, which are not told apart."""

    reasoning_tokens: int = 0


class ResponseUsage(BaseModel):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: TokenDetails
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class ResponseBody(BaseModel):
    """A response."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete"]
    error: None = None
    incomplete_details: dict[str, str] | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: str | None
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float
    usage: ResponseUsage | None = None


class DeletedResponse(BaseModel):
    """That a response is forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True
