"""``/v1/realtime``: a websocket that hears PCM and answers with transcripts, as OpenAI's transcription sessions do.

Sound is cut into windows of equal length. For a head that predicts tokens, each window is a turn of one conversation
whose state is kept, so that the model knows what was said before, at a cost per window that does not grow. A transcript
head hears each window by itself.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.generation import Finished
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.serving.answers import ask
from modrwkv_core.serving.context import Context
from modrwkv_core.serving.errors import APIError, as_api_error, too_many_values
from modrwkv_core.serving.head_transcript import head_transcript
from modrwkv_core.serving.json_body import parse_json
from modrwkv_core.serving.models import Model
from modrwkv_core.serving.settings import ServeSettings

__all__ = ["RATE", "Windows", "realtime_router"]

RATE: Final = 16_000
"""Samples per second."""

_BYTES: Final = 2
"""Of a sample: 16 bits, little-endian."""

_WAITING: Final = 4
"""Windows that wait to be transcribed; a client that sends faster has to wait, too."""

_GOODBYE_SECONDS: Final = 5.0
"""For telling a client that its session ends, which may not read what it is told."""


class Windows:
    """Cuts PCM into windows, wherever messages begin and end.

    Args:
        seconds: Length of a window.
    """

    def __init__(self, seconds: float) -> None:
        self._bytes = max(int(seconds * RATE), 1) * _BYTES
        self._held = bytearray()

    def feed(self, pcm: bytes) -> Iterator[Waveform]:
        """Take samples and yield the windows that they complete."""
        self._held += pcm
        while len(self._held) >= self._bytes:
            window = bytes(self._held[: self._bytes])
            del self._held[: self._bytes]
            yield _waveform(window)

    def finish(self) -> Waveform | None:
        """Return what is left, and begin anew; half a sample is dropped."""
        left = bytes(self._held[: len(self._held) // _BYTES * _BYTES])
        self._held.clear()
        return _waveform(left) if left else None

    def clear(self) -> None:
        """Forget what is left."""
        self._held.clear()


def _waveform(pcm: bytes) -> Waveform:
    return Waveform(np.frombuffer(pcm, "<i2").astype(np.float32) * np.float32(2**-15), RATE)


def realtime_router(context: Context) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.websocket("/v1/realtime")
    async def listen(socket: WebSocket, model: str = "", head: str | None = None) -> None:
        """Transcribe what is heard, by the head of this name, or as a file is transcribed without one."""
        await socket.accept("realtime" if "realtime" in socket.scope["subprotocols"] else None)
        try:
            chosen = context.models[model]
            if "audio" not in chosen.engine.session.model.preprocessors:
                raise APIError(400, "the model takes no audio", code="modality_not_supported")
            name = chosen.engine.session.head_names.transcription("audio", head)
        except (APIError, ModRWKVError) as error:
            await socket.send_json({"type": "error", **as_api_error(error).body()})
            await socket.close(1008, "no such model or head")
            return
        await _Conversation(socket, chosen, name, context.settings).run()

    return router


@dataclass(slots=True)
class _Conversation:
    """One client, and what was heard of it."""

    socket: WebSocket
    model: Model
    head: str
    settings: ServeSettings
    prompt: str = ""
    past: Snapshot | None = None
    windows: Windows = field(init=False)
    waiting: asyncio.Queue[Waveform] = field(default_factory=lambda: asyncio.Queue(_WAITING))

    def __post_init__(self) -> None:
        self.windows = Windows(self.settings.window_seconds)
        self.prompt = self.settings.transcription_prompt

    async def run(self) -> None:
        """Serve the client until it goes away, is silent for too long, or has been served for long enough."""
        await self._send("session.created", session=self._session())
        working = asyncio.ensure_future(self._transcribe_all())
        listening = asyncio.ensure_future(self._listen())
        try:
            longest = self.settings.limits.realtime_seconds
            done, _ = await asyncio.wait({working, listening}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not done:
                await self._end(f"the session has lasted {longest:g} s")
        except WebSocketDisconnect:
            pass
        finally:
            for task in (working, listening):
                task.cancel()
            await asyncio.gather(working, listening, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                message = await asyncio.wait_for(self.socket.receive(), self.settings.limits.realtime_idle_seconds)
            except TimeoutError:
                await self._end("nothing was heard for too long")
                return
            if message["type"] == "websocket.disconnect":
                return
            try:
                await self._take(message)
            except APIError as error:
                await self._send("error", **error.body())

    async def _end(self, reason: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self._send("error", **APIError(408, reason, code="session_expired").body())
                await self.socket.close(1001, reason)

    async def _take(self, message: Any) -> None:
        if message.get("bytes") is not None:
            await self._hear(message["bytes"])
            return
        most = self.settings.limits.json_values
        if message["text"].count(",") > most:
            raise too_many_values(most)
        try:
            event = parse_json(message["text"])
        except ValueError as error:
            raise APIError(400, "a message is neither JSON nor binary PCM", code="invalid_event") from error
        match event:
            case {"type": "input_audio_buffer.append", "audio": str(text)}:
                try:
                    await self._hear(base64.b64decode(text, validate=True))
                except binascii.Error as error:
                    raise APIError(400, "audio is not base64", param="audio", code="invalid_value") from error
            case {"type": "input_audio_buffer.commit"}:
                if (rest := self.windows.finish()) is not None:
                    await self.waiting.put(rest)
            case {"type": "input_audio_buffer.clear"}:
                self.windows.clear()
                await self._send("input_audio_buffer.cleared")
            case {"type": "session.update", "session": dict(wanted)}:
                self._update(wanted)
                await self._send("session.updated", session=self._session())
            case _:
                raise APIError(400, "the server does not know this event", code="invalid_event")

    async def _hear(self, pcm: bytes) -> None:
        for window in self.windows.feed(pcm):
            await self.waiting.put(window)

    def _update(self, wanted: dict[str, Any]) -> None:
        heard = wanted.get("audio", {}).get("input", {}) if isinstance(wanted.get("audio", {}), dict) else {}
        shape = heard.get("format") if isinstance(heard, dict) else None
        if shape is not None and shape != {"type": "audio/pcm", "rate": RATE}:
            raise APIError(400, f"the format is audio/pcm at {RATE} Hz", param="session.audio.input.format")
        match heard:
            case {"transcription": {"prompt": str(prompt)}} if prompt.strip():
                self.prompt = prompt

    def _session(self) -> dict[str, Any]:
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": RATE},
                    "transcription": {"model": self.model.name, "prompt": self.prompt},
                    "turn_detection": None,
                }
            },
            "window_seconds": self.settings.window_seconds,
        }

    async def _transcribe_all(self) -> None:
        while True:
            window = await self.waiting.get()
            item = f"item_{uuid.uuid4().hex[:24]}"
            await self._send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
            try:
                await self._transcribe(window, item)
            except WebSocketDisconnect:
                raise
            except Exception as error:
                told = as_api_error(error, self.settings.limits.retry_after_seconds)
                kind = "conversation.item.input_audio_transcription.failed"
                await self._send(kind, item_id=item, content_index=0, **told.body())

    async def _transcribe(self, window: Waveform, item: str) -> None:
        place = {"item_id": item, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        session, seconds = self.model.engine.session, self.settings.limits.request_seconds
        if self.head in session.model.transcript_heads():
            found = await head_transcript(self.model, Media("audio", window), self.head, seconds)
            if found.text:
                await self._send(f"{kind}.delta", **place, delta=found.text)
            usage = _usage(found.prompt_tokens, found.tokens)
            await self._send(f"{kind}.completed", **place, transcript=found.text, usage=usage)
            return
        request = Request(
            (Turn("user", (Media("audio", window), Text(self.prompt))),),
            max_tokens=self.settings.limits.tokens,
            head=self.head,
            deadline_s=seconds,
            state=self.past,
            keep_state=True,
        )
        whole = ""
        with await ask(self.model, [request]) as answers:
            async for _, event in answers.events():
                text = "".join(piece.text for piece in event.pieces if piece.channel == "content")
                if text:
                    whole += text
                    await self._send(f"{kind}.delta", **place, delta=text)
                if isinstance(event, Finished):
                    usage = _usage(event.usage.prompt_tokens, event.usage.completion_tokens)
                    await self._send(f"{kind}.completed", **place, transcript=whole, usage=usage)
            self.past = answers.generations[0].snapshot()

    async def _send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, "event_id": f"event_{uuid.uuid4().hex[:24]}", **fields})


def _usage(read: int, written: int) -> dict[str, Any]:
    return {"type": "tokens", "input_tokens": read, "output_tokens": written, "total_tokens": read + written}
