"""What a transcript head hears in a recording, between two steps of the answers of its engine."""

from __future__ import annotations

import asyncio
from functools import partial

from modrwkv_core.inference.head_transcripts import HeadTranscript, head_transcripts
from modrwkv_core.interfaces.record import Media, Turn
from modrwkv_core.serving.errors import deadline_exceeded
from modrwkv_core.serving.models import Model

__all__ = ["head_transcript"]


async def head_transcript(model: Model, heard: Media, head: str, seconds: float) -> HeadTranscript:
    """Return what the transcript head ``head`` hears.

    Raises:
        APIError: It takes longer than ``seconds``.
        ModRWKVError: The model cannot read the recording.
    """
    turns = (Turn("user", (heard,)),)
    work = partial(head_transcripts, model.engine.session, [turns], head)
    try:
        async with asyncio.timeout(seconds):
            [found] = await model.run(work)
    except TimeoutError:
        raise deadline_exceeded("send a shorter recording") from None
    return found
