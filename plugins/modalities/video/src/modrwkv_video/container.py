"""Opening the containers of video files, and the errors that name them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from modrwkv_core.errors import DataError

__all__ = ["AGAIN", "name_of", "opened", "picture_stream", "sound_stream"]

FORMATS: Final = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
"""Containers that are read. FFmpeg knows others that open further files or even the network."""

AGAIN: Final = "save it again from its source, or leave it out"


@contextmanager
def opened(content: Path | bytes) -> Iterator[InputContainer]:
    """Open a file for decoding; what FFmpeg raises meanwhile becomes an error that names the file."""
    name = name_of(content)
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


def picture_stream(container: InputContainer, name: str) -> VideoStream:
    """Return the first stream of images that is not the cover of a recording."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            if stream.codec_context is None:
                raise _no_decoder(name)
            return stream
    kinds = sorted({stream.type for stream in container.streams})
    raise DataError(f"{name} holds no moving images, only {', '.join(kinds) or 'nothing'}", hint="give a video")


def sound_stream(container: InputContainer, name: str) -> AudioStream:
    """Return the first sound track of a file that has one."""
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise _no_decoder(f"the sound of {name}")
    return stream


def name_of(content: Path | bytes) -> str:
    """Return what to call a file in a message."""
    return "the given bytes" if isinstance(content, bytes) else str(content)


def _no_decoder(name: str) -> DataError:
    return DataError(f"{name} is in a format that FFmpeg has no decoder for", hint="convert it to MP4")
