"""Video files: what frames they have, and decoding those that are asked for.

F = frames.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Image
from modrwkv_video.signal import Video

__all__ = ["Footage", "probe"]

FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
"""Containers that are read. FFmpeg knows others that open further files or even the network."""

AGAIN: Final = "save it again from its source, or leave it out"

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
        unit: Seconds of a unit.
    """

    content: Path | bytes
    stamps: NDArray[np.int64]
    keys: NDArray[np.bool_]
    end: int
    unit: float

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return _name(self.content)

    @property
    def moments(self) -> NDArray[np.int64]:
        """When each frame is shown first."""
        return self.stamps

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.end - self.stamps[0]) * self.unit

    def check(self) -> None:
        """Refuse an index that has no frames or does not rise."""
        if not len(self.stamps) or self.stamps.shape != self.keys.shape or (np.diff(self.stamps) <= 0).any():
            raise DataError(f"the index of {self.name} is not that of a video", hint="decode the file again")

    def pictures(self, frames: Sequence[int]) -> Iterator[Image]:
        """Decode the frames of these numbers, which rise, and turn them as the camera was turned."""
        with _opened(self.content) as container:
            for frame in self._decoded(container, _picture_stream(container, self.name), frames):
                # FFmpeg gives degrees counterclockwise, as np.rot90 turns.
                turned = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
                yield Image(np.ascontiguousarray(turned))

    def _decoded(self, container: InputContainer, stream: VideoStream, frames: Sequence[int]) -> Iterator[VideoFrame]:
        decoder: Iterator[VideoFrame] = iter(())
        last = -1
        frame: VideoFrame | None = None
        for number in frames:
            if self.keys[last + 1 : number + 1].any():
                decoder = self._decoder_at(container, stream, number)
                frame = next(decoder, None)
            while frame is not None and (frame.pts is None or frame.pts < self.stamps[number]):
                frame = next(decoder, None)
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
    name = _name(content)
    with _opened(content) as container:
        stream = _picture_stream(container, name)
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
    name = _name(content)
    packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    if not shown:
        raise DataError(f"{name} has no frames", hint=AGAIN)
    if any(packet.pts is None for packet in shown):
        raise DataError(f"{name} does not say when its frames are shown", hint="convert it to MP4")
    stamps, first = np.unique([packet.pts for packet in shown], return_index=True)
    last = shown[first[-1]]
    step = last.duration or (int(np.diff(stamps).mean()) if len(stamps) > 1 else 0)
    assert stream.time_base is not None, "streams that are read have a unit of time"
    footage = Footage(
        content=content,
        stamps=stamps,
        keys=np.array([shown[index].is_keyframe for index in first]),
        end=int(stamps[-1]) + step,
        unit=float(stream.time_base),
    )
    if len(packets) < WHOLE * stream.frames:
        raise _truncated(name, f"{len(packets)} of {stream.frames} frames")
    announced = _announced_seconds(container, stream)
    if announced is not None and footage.seconds < WHOLE * announced:
        raise _truncated(name, f"{footage.seconds:.2f} of {announced:.2f} s")
    return footage


def _announced_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return how long the images last by the file's header, if it says so; sound may last longer."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _truncated(name: str, what: str) -> DataError:
    return DataError(f"{name} is truncated: it holds {what}", hint=AGAIN)


def _picture_stream(container: InputContainer, name: str) -> VideoStream:
    """Return the first stream of images that is not the cover of a recording."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise DataError(f"{name} is in a format that FFmpeg has no decoder for", hint="convert it to MP4")
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise DataError(f"{name} holds no moving images, only {', '.join(kinds) or 'nothing'}", hint="give a video")


@contextmanager
def _opened(content: Path | bytes) -> Iterator[InputContainer]:
    """Open a file for decoding; what FFmpeg raises meanwhile becomes an error that names the file."""
    name = _name(content)
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "", "fflags": "+genpts"}
    file: Any = None
    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
        with av.open(
            file, container_options=options, options={"err_detect": "explode"}, metadata_errors="replace"
        ) as container:
            yield container
    except av.FFmpegError as error:
        raise DataError(f"{name} is not a video, or a damaged one: {error.strerror}", hint=AGAIN) from error
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror}", hint="check the path") from error
    finally:
        if file is not None:
            file.close()


def _name(content: Path | bytes) -> str:
    return "the given bytes" if isinstance(content, bytes) else str(content)
