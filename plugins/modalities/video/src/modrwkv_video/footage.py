"""Video files: what frames they have, and decoding those that are asked for.

F = frames.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Image, Waveform
from modrwkv_video.container import AGAIN, name_of, opened, picture_stream
from modrwkv_video.signal import Video
from modrwkv_video.sound import waveforms

__all__ = ["Footage", "probe"]

WHOLE: Final = 0.98
"""Part of the announced frames and duration that a file must hold; headers round."""


@dataclass(frozen=True, slots=True)
class Footage(Video):
    """A video file, of which only the index has been read.

    Attributes:
        content: Its path, or its bytes.
        stamps: When each frame is shown first, ``[F]``, rising, in units of the file.
        keys: Which frames can be decoded without those before them, ``[F]``.
        end: When the last frame ends.
        seconds_per_unit: Seconds of a unit.
        sound_end: When the sound track ends, in seconds after the first frame; 0 without one.
    """

    content: Path | bytes
    stamps: NDArray[np.int64]
    keys: NDArray[np.bool_]
    end: int
    seconds_per_unit: float
    sound_end: float

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return name_of(self.content)

    @property
    def moments(self) -> NDArray[np.int64]:
        """When each frame is shown first."""
        return self.stamps

    @property
    def unit(self) -> float:
        """Seconds of a unit of moments."""
        return self.seconds_per_unit

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.end - self.stamps[0]) * self.unit

    @property
    def sound_seconds(self) -> float:
        """When its sound track ends."""
        return self.sound_end

    def check(self) -> None:
        """Refuse an index that has no frames or does not rise."""
        if not len(self.stamps) or self.stamps.shape != self.keys.shape or (np.diff(self.stamps) <= 0).any():
            raise DataError(f"the index of {self.name} is not that of a video", hint="decode the file again")

    def pictures(self, frames: Sequence[int]) -> Iterator[Image]:
        """Decode the frames of these numbers, which rise, and turn them as the camera was turned."""
        with opened(self.content) as container:
            for frame in self._decoded(container, picture_stream(container, self.name), frames):
                # FFmpeg gives degrees counterclockwise, as np.rot90 turns.
                turned = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
                yield Image(np.ascontiguousarray(turned))

    def sounds(self, spans: Sequence[tuple[float, float]]) -> Iterator[Waveform]:
        """Decode the sound of these stretches, which follow one another."""
        return waveforms(self.content, float(self.stamps[0]) * self.unit, spans)

    def _decoded(self, container: InputContainer, stream: VideoStream, frames: Sequence[int]) -> Iterator[VideoFrame]:
        decoder: Iterator[VideoFrame] = iter(())
        last = -1
        frame: VideoFrame | None = None
        for number in frames:
            try:
                if self.keys[last + 1 : number + 1].any():
                    decoder = self._decoder_at(container, stream, number)
                    frame = next(decoder, None)
                while frame is not None and (frame.pts is None or frame.pts < self.stamps[number]):
                    frame = next(decoder, None)
            except av.FFmpegError as error:
                raise self._undecodable(number) from error
            if frame is None or frame.is_corrupt:
                raise self._undecodable(number)
            last = number
            yield frame

    def _decoder_at(self, container: InputContainer, stream: VideoStream, number: int) -> Iterator[VideoFrame]:
        """Decode from a key frame on that is not after the frame ``number``."""
        starts = self.stamps[: number + 1][self.keys[: number + 1]].tolist()
        # AVI files are searched by the order of decoding, which may lead too far; then an earlier start is tried.
        for start in (*reversed(starts), 0):
            container.seek(start, stream=stream)
            decoder = container.decode(stream)
            first = next(decoder, None)
            if first is not None and first.pts is not None and first.pts <= self.stamps[number]:
                return chain([first], decoder)
        raise self._undecodable(number)

    def _undecodable(self, number: int) -> DataError:
        at = float(self.stamps[number] - self.stamps[0]) * self.unit
        return DataError(f"{self.name} is damaged: the frame at {at:.2f} s cannot be decoded", hint=AGAIN)


def probe(content: Path | bytes, max_pixels: int) -> Footage:
    """Read the index of a video file and decode its first frame.

    Args:
        content: The file's path, or its bytes.
        max_pixels: Largest frame allowed.

    Raises:
        DataError: It cannot be read, is no video, has no frames, is damaged or truncated, or has larger frames.
    """
    name = name_of(content)
    with opened(content) as container:
        stream = picture_stream(container, name)
        pixels = stream.codec_context.width * stream.codec_context.height
        if pixels > max_pixels:
            raise DataError(
                f"{name} is too large: its frames have {pixels:,} pixels, the limit is {max_pixels:,}",
                hint="make it smaller, or set MODRWKV_MAX_IMAGE_PIXELS",
            )
        footage = _index(container, stream, content)
    next(footage.pictures([0]))
    return footage


def _index(container: InputContainer, stream: VideoStream, content: Path | bytes) -> Footage:
    """Go through the packets of a file without keeping them: those of a long film would fill the memory."""
    name = name_of(content)
    pts, keys, durations = array("q"), array("b"), array("q")
    held = 0
    ends = {other.index: 0.0 for other in container.streams}
    for packet in container.demux():
        if not packet.size:
            continue
        if packet.pts is not None and packet.time_base is not None:
            index = packet.stream_index
            ends[index] = max(ends[index], float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index != stream.index:
            continue
        held += 1
        if packet.is_discard:
            continue
        if packet.pts is None:
            raise DataError(f"{name} does not say when its frames are shown", hint="convert it to MP4")
        pts.append(packet.pts)
        keys.append(packet.is_keyframe)
        durations.append(packet.duration or 0)
    if not pts:
        raise DataError(f"{name} has no frames", hint=AGAIN)
    assert stream.time_base is not None, "streams that are read have a unit of time"
    unit = float(stream.time_base)
    stamps, first = np.unique(np.array(pts, dtype=np.int64), return_index=True)
    step = durations[first[-1]] or (int(np.diff(stamps).mean()) if len(stamps) > 1 else 0)
    sound = container.streams.audio[0].index if container.streams.audio else None
    footage = Footage(
        content=content,
        stamps=stamps,
        keys=np.array(keys, dtype=np.bool_)[first],
        end=int(stamps[-1]) + step,
        seconds_per_unit=unit,
        sound_end=0.0 if sound is None else max(0.0, ends[sound] - float(stamps[0]) * unit),
    )
    if held < WHOLE * stream.frames:
        raise _truncated(name, f"{held} of {stream.frames} frames")
    if stream.duration is not None and "matroska" not in container.format.name:
        seconds, announced = footage.seconds, stream.duration * unit
    else:
        # Only the whole file says how long it lasts, and any of its streams may be the longest. For Matroska, FFmpeg
        # may take that for the duration of the images.
        seconds, announced = max(footage.seconds, *ends.values()), (container.duration or 0) / av.time_base
    if seconds < WHOLE * announced:
        raise _truncated(name, f"{seconds:.2f} of {announced:.2f} s")
    return footage


def _truncated(name: str, what: str) -> DataError:
    return DataError(f"{name} is truncated: it holds {what}", hint=AGAIN)
