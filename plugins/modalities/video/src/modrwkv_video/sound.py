"""The sound track of a video file, stretch by stretch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_video.container import AGAIN, name_of, opened, sound_stream

__all__ = ["waveforms"]

JITTER: Final = 0.05
"""Seconds by which a packet may be off from the end of the one before it and still follow it without a gap."""


def waveforms(content: Path | bytes, start: float, spans: Sequence[tuple[float, float]]) -> Iterator[Waveform]:
    """Decode the sound of stretches of a film; where the track has gaps or has ended, it is silent.

    Channels are averaged. Only one stretch is in memory.

    Args:
        content: The file's path, or its bytes; it has a sound track.
        start: When the film begins by the file's clock, in seconds.
        spans: Begin and end of each stretch in seconds of the film; they follow one another.

    Raises:
        DataError: The sound cannot be decoded; names the file and the second.
    """
    with opened(content) as container:
        stream = sound_stream(container, name_of(content))
        rate = stream.codec_context.sample_rate
        blocks = _decoded(container, stream, start, name_of(content))
        block = next(blocks, None)
        for begin, end in ((round(begin * rate), round(end * rate)) for begin, end in spans):
            samples = np.zeros(end - begin, np.float32)
            while block is not None and block[0] < end:
                at, heard = block
                low, high = max(at, begin), min(at + len(heard), end)
                if low < high:
                    samples[low - begin : high - begin] = heard[low - at : high - at]
                if at + len(heard) > end:
                    break
                block = next(blocks, None)
            yield Waveform(samples, rate)


def _decoded(
    container: InputContainer, stream: AudioStream, start: float, name: str
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the samples of each packet and the place of the first of them in the film."""
    rate = stream.codec_context.sample_rate
    resampler = av.AudioResampler(format="fltp")
    following: int | None = None
    try:
        for decoded in container.decode(stream):
            for frame in resampler.resample(decoded):
                if frame.sample_rate != rate:
                    raise DataError(
                        f"the sound of {name} changes from {rate} to {frame.sample_rate} samples per second",
                        hint="convert it to one rate",
                    )
                at = following
                if frame.pts is not None and frame.time_base is not None:
                    at = round((float(frame.pts * frame.time_base) - start) * rate)
                if at is None:
                    at = 0
                if following is not None and abs(at - following) <= JITTER * rate:
                    at = following
                samples = frame.to_ndarray().mean(axis=0, dtype=np.float32)
                following = at + len(samples)
                yield at, samples
    except av.FFmpegError as error:
        second = max(0, following or 0) / rate
        raise DataError(f"{name} is damaged: the sound at {second:.2f} s cannot be decoded", hint=AGAIN) from error
