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
from modrwkv_core.serving.head_transcript import head_transcript

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
        head: Annotated[str | None, Form(max_length=256)] = None,
    ) -> Response:
        """Transcribe a recording.

        ``head`` names a head of the model: a transcript head, or one that predicts tokens. By default, it is the only
        transcript head that the model has for audio, if any. To heads that predict tokens, ``prompt`` is said in the
        place of the server's own instruction; transcript heads read neither it nor ``temperature`` and ``language``.
        """
        chosen = context.models[model]
        session = chosen.engine.session
        heard = await context.media.audio(session, await file.read())
        seconds = context.settings.limits.request_seconds
        head = session.head_names.transcription("audio", head)
        if head in session.model.transcript_heads():
            found = await unless_disconnected(http, head_transcript(chosen, heard, head, seconds))
            transcription = Transcription(text=found.text.strip(), usage=_usage(found.prompt_tokens, found.tokens))
            if stream:
                events = (_delta(transcription.text), _done(transcription), DONE)
                return Response(b"".join(events), media_type=EventStream.media_type)
        else:
            request = Request(
                (_question(context, heard, prompt, language),),
                max_tokens=context.max_tokens(None),
                sampling=Sampling(temperature=temperature),
                head=head,
                deadline_s=seconds,
            )
            answers = await ask(chosen, [request])
            if stream:
                return EventStream(_stream(await started(http, answers)), answers)
            with answers:
                [answer] = await unless_disconnected(http, answers.collect())
            transcription = _transcription(answer.content, answer.end)
        if response_format == "text":
            return PlainTextResponse(f"{transcription.text}\n")
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
            yield _delta(text)
        if isinstance(event, Finished):
            yield _done(_transcription(whole, event))
    yield DONE


def _delta(text: str) -> bytes:
    return sse({"type": "transcript.text.delta", "delta": text})


def _done(transcription: Transcription) -> bytes:
    usage = transcription.usage.model_dump()
    return sse({"type": "transcript.text.done", "text": transcription.text, "usage": usage})


def _transcription(text: str, finished: Finished) -> Transcription:
    used = finished.usage
    return Transcription(text=text.strip(), usage=_usage(used.prompt_tokens, used.completion_tokens))


def _usage(read: int, written: int) -> TranscriptionUsage:
    return TranscriptionUsage(input_tokens=read, output_tokens=written, total_tokens=read + written)
