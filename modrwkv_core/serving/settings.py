"""What a server allows: keys, limits, remote media."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from modrwkv_core.errors import ModRWKVError

__all__ = ["Limits", "ServeSettings"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for, and what all of them may ask for at a time.

    Attributes:
        body_bytes: Bytes of a request's body, of a message of a websocket, and of a remote medium.
        json_values: Values of the JSON of one request or message, by its commas: a body can hold millions of numbers,
            each of which takes many times the memory that it takes there.
        media: Media of one request.
        image_pixels: Pixels of one image.
        audio_seconds: Seconds of one recording.
        series_points: Numbers of one series, points times channels.
        media_bytes: Bytes of memory that the media of one request take once they are decoded.
        open_media_bytes: Bytes of memory that the media of all open requests take together.
        messages: Messages of one conversation.
        tokens: Tokens of one answer.
        choices: Answers to one request.
        horizon: Points of one forecast.
        forecast_numbers: Numbers of one forecast: points times channels, once and for each quantile of the head.
        body_seconds: Seconds until the body of a request must have come.
        request_seconds: Seconds until an answer must be complete.
        realtime_sessions: Websockets that are open at a time; more are closed at once.
        realtime_idle_seconds: Seconds without a message after which a websocket is closed.
        realtime_seconds: Seconds after which a websocket is closed in any case.
        open_requests: Requests that are read or answered at a time; more are told to come again.
        open_bytes: Bytes of the bodies of all open requests, and of the messages of websockets, together.
        retry_after_seconds: When they should.
        sessions: Conversations that are kept for each model.
        responses: States after responses that are kept, of all models.

    Raises:
        ModRWKVError: A limit is not above 0.
    """

    body_bytes: int = 32 * 2**20
    json_values: int = 2_000_000
    media: int = 16
    image_pixels: int = 32_000_000
    audio_seconds: float = 600.0
    series_points: int = 1_000_000
    media_bytes: int = 2**28
    open_media_bytes: int = 2**31
    messages: int = 1024
    tokens: int = 4096
    choices: int = 8
    horizon: int = 4096
    forecast_numbers: int = 1_000_000
    body_seconds: float = 120.0
    request_seconds: float = 300.0
    realtime_sessions: int = 64
    realtime_idle_seconds: float = 60.0
    realtime_seconds: float = 3600.0
    open_requests: int = 512
    open_bytes: int = 2**30
    retry_after_seconds: int = 1
    sessions: int = 1024
    responses: int = 256

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 < getattr(self, name) < math.inf:
                raise ModRWKVError(f"the limit {name} is {getattr(self, name)}", hint="it must be a number above 0")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a server serves.

    Attributes:
        api_keys: One of them must be sent as a bearer token; none lets everyone in.
        limits: See :class:`Limits`.
        remote_media: Whether images may be given as addresses on the web, which the server then fetches.
        ui: Whether the page is served at ``/``.
        transcription_prompt: What the model is told besides a recording that it shall transcribe.
        window_seconds: Seconds of sound that ``/v1/realtime`` transcribes at a time.
        sessions_folder: Where saved conversations are kept; None keeps none.
        shared_sessions: Whether other servers use that folder, too; see
            :class:`~modrwkv_core.inference.sessions.SessionStore`.
    """

    api_keys: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    remote_media: bool = False
    ui: bool = False
    transcription_prompt: str = "Transcribe the recording."
    window_seconds: float = 4.0
    sessions_folder: Path | None = None
    shared_sessions: bool = False
