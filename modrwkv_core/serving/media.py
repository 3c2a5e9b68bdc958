"""Media of requests: data URIs and base64 to decoded signals, within limits, away from the event loop.

What arrives here is decoded once, into memory; nothing is written to disk and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.modality import decode_base64
from modrwkv_core.interfaces.record import Media
from modrwkv_core.interfaces.signals import TimeSeries, Waveform
from modrwkv_core.modalities.audio import AudioModality
from modrwkv_core.modalities.image import ImageModality
from modrwkv_core.modalities.series import SeriesModality
from modrwkv_core.readers.arrays import ZIP_MAGIC
from modrwkv_core.readers.files import read_media
from modrwkv_core.readers.parquet import PARQUET_MAGIC
from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.fetching import fetch
from modrwkv_core.serving.media_budget import MediaBudget
from modrwkv_core.serving.schemas.common import SeriesData
from modrwkv_core.serving.settings import ServeSettings

__all__ = ["MediaReader"]

_DECODERS: Final = 4
"""Media that are decoded at a time: each takes memory in proportion to its limit."""

_FETCHES: Final = 16
"""Addresses that are fetched at a time: they wait for others more than they compute."""

_FETCH_SECONDS: Final = 20.0
_MOST_SAMPLES_PER_SECOND: Final = 2 * 48_000
"""Of a recording in stereo at 48 kHz: what bounds the memory of one before its rate is known."""

_GZIP_MAGIC: Final = b"\x1f\x8b"

ResultT = TypeVar("ResultT")


class MediaReader:
    """Reads the media of requests.

    Args:
        settings: Limits, and whether addresses are fetched.
        budget: Counts the memory that the media take.
    """

    def __init__(self, settings: ServeSettings, budget: MediaBudget) -> None:
        self._budget = budget
        self._settings = settings
        self._limits = limits = settings.limits
        self._images = ImageModality(max_pixels=limits.image_pixels)
        self._audio = AudioModality(max_samples=int(limits.audio_seconds * _MOST_SAMPLES_PER_SECOND))
        self._series = SeriesModality()
        self._decoders = anyio.CapacityLimiter(_DECODERS)
        self._fetches = anyio.CapacityLimiter(_FETCHES)

    async def image(self, session: Session, url: str) -> Media:
        """Read an image from a data URI, or from the web where that is allowed.

        Raises:
            APIError: The model sees no images, addresses are not allowed, or there is no memory for it.
            DataError: It is no image, or too large.
        """
        _require(session, "image")
        if not url.startswith("data:"):
            if not self._settings.remote_media:
                raise APIError(
                    400,
                    "this server fetches nothing from the web; send the image as data:image/png;base64,...",
                    param="image_url",
                    code="remote_media_disabled",
                )
            content = await self._fetched(url)
        else:
            content = await self._run(lambda: read_media(url)[0])
        image = await self._run(partial(self._images.decode, content))
        self._budget.take(image.pixels.nbytes)
        return Media("image", image)

    async def audio(self, session: Session, content: str | bytes) -> Media:
        """Read a sound file from its bytes, or base64.

        Raises:
            APIError: The model hears nothing, or there is no memory for it.
            DataError: It is no recording, or too long.
        """
        _require(session, "audio")
        waveform = await self._run(partial(self._waveform, content))
        self._budget.take(waveform.samples.nbytes)
        return Media("audio", waveform)

    async def series(self, session: Session, given: SeriesData) -> Media:
        """Read a series.

        Raises:
            APIError: The model takes no series, or there is no memory for it.
            DataError: It is no series, or too long.
        """
        _require(session, "series")
        series = await self._run(partial(self._time_series, given))
        self._budget.take(series.values.nbytes)
        return Media("series", series)

    async def _fetched(self, url: str) -> bytes:
        work = partial(fetch, url, self._limits.body_bytes, _FETCH_SECONDS)
        content = await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._fetches)
        self._budget.take(len(content))  # it is held as long as others are decoded
        return content

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._decoders)

    def _waveform(self, content: str | bytes) -> Waveform:
        if isinstance(content, str):
            content = decode_base64(content)
        waveform = self._audio.decode(content)
        seconds = len(waveform.samples) / waveform.rate
        if seconds > self._limits.audio_seconds:
            raise DataError(
                f"the recording lasts {seconds:.0f} s, the limit is {self._limits.audio_seconds:.0f} s",
                hint="cut it into parts",
            )
        return waveform

    def _time_series(self, given: SeriesData) -> TimeSeries:
        series = self._series.decode(_numbers(given.values) if given.values is not None else _file(given.data or ""))
        if series.values.size > self._limits.series_points:
            raise DataError(
                f"the series holds {series.values.size:,} numbers, the limit is {self._limits.series_points:,}",
                hint="send its latest part",
            )
        return series


def _require(session: Session, modality: str) -> None:
    known = sorted(session.model.preprocessors)
    if modality not in known:
        raise APIError(
            400,
            f"the model takes no {modality}; it takes {', '.join(['text', *known])}",
            code="modality_not_supported",
        )


def _numbers(values: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(values, dtype=np.float64)
    except ValueError as error:
        raise DataError(
            "values are not numbers in rows of equal lengths", hint="give every point all channels"
        ) from error


def _file(text: str) -> bytes:
    content = decode_base64(text)
    if content.startswith((_GZIP_MAGIC, ZIP_MAGIC, PARQUET_MAGIC)):  # a few bytes of which can hold gigabytes
        raise DataError("the series is compressed", hint="send CSV or .npy, not compressed")
    return content
