"""``POST /v1/audio/transcriptions``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, File, Form, UploadFile
from fastapi import Request as HTTPRequest
from pydantic import BaseModel, FiniteFloat
from starlette.responses import JSONResponse, PlainTextResponse, Response

from modrwkv_core.inference.generation import Finished, TokenEvent
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.serving.answers import DONE, EventStream, ask, sse, started, unless_disconnected
from modrwkv_core.serving.context import Context, content_types, make_router

__all__ = ["transcriptions_router"]

Format: TypeAlias = Literal["json", "text", "verbose_json"]


class TranscriptionUsage(BaseModel):
    """What a transcription took."""

    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Transcription(BaseModel):
    """What is said in a recording.

    Attributes:
        duration: Seconds of the recording; only in ``verbose_json``, as are ``task`` and ``language``.
    """

    text: str
    usage: TranscriptionUsage
    task: Literal["transcribe"] | None = None
    language: str | None = None
    duration: float | None = None


def transcriptions_router(context: Context) -> APIRouter:
    """Return the route."""
    router = make_router()

    @router.post(
        "/v1/audio/transcriptions",
        response_model=Transcription,
        responses=content_types("text/event-stream", "text/plain"),
    )
    async def transcribe(
        http: HTTPRequest,
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],
        prompt: Annotated[str | None, Form()] = None,
        response_format: Annotated[Format, Form()] = "json",
        temperature: Annotated[FiniteFloat, Form(ge=0, le=1)] = 0.0,
        language: Annotated[str | None, Form(max_length=32)] = None,
        stream: Annotated[bool, Form()] = False,
    ) -> Response:
        """Transcribe a recording; ``prompt`` stands in the place of the server's own instruction."""
        chosen = context.models[model]
        heard = await context.media.audio(chosen.engine.session, await file.read())
        request = Request(
            (_question(context, heard, prompt, language),),
            max_tokens=context.max_tokens(None),
            sampling=Sampling(temperature=temperature),
            deadline_s=context.settings.limits.request_seconds,
        )
        answers = await ask(chosen, [request])
        if stream:
            return EventStream(_stream(await started(http, answers)), answers)
        with answers:
            [answer] = await unless_disconnected(http, answers.collect())
        if response_format == "text":
            return PlainTextResponse(f"{answer.content.strip()}\n")
        transcription = Transcription(text=answer.content.strip(), usage=_usage(answer.end))
        if response_format == "verbose_json":
            transcription.task, transcription.language = "transcribe", language or "unknown"
            transcription.duration = len(heard.media.samples) / heard.media.rate
        return JSONResponse(transcription.model_dump(mode="json", exclude_none=True))

    return router


def _question(context: Context, heard: Media, prompt: str | None, language: str | None) -> Turn:
    words = prompt or context.settings.transcription_prompt
    if language:
        words = f"{words} The language is {language}."
    return Turn("user", (heard, Text(words)))


async def _stream(events: AsyncIterator[tuple[int, TokenEvent | Finished]]) -> AsyncIterator[bytes]:
    whole = ""
    async for _, event in events:
        text = "".join(piece.text for piece in event.pieces if piece.channel == "content")
        if text:
            whole += text
            yield sse({"type": "transcript.text.delta", "delta": text})
        if isinstance(event, Finished):
            usage = _usage(event).model_dump()
            yield sse({"type": "transcript.text.done", "text": whole.strip(), "usage": usage})
    yield DONE


def _usage(finished: Finished) -> TranscriptionUsage:
    used = finished.usage
    return TranscriptionUsage(
        input_tokens=used.prompt_tokens,
        output_tokens=used.completion_tokens,
        total_tokens=used.prompt_tokens + used.completion_tokens,
    )
