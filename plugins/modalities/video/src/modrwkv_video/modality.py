"""The video modality: files, arrays and lists of images to videos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality, media_path
from modrwkv_core.interfaces.signals import Image
from modrwkv_video.footage import probe
from modrwkv_video.signal import Clip, Video

__all__ = ["VideoModality"]

MAX_BYTES: Final = 2 * 1024**3
"""Bytes above which a file is refused unless told otherwise, as those of other media are."""

MAX_BYTES_VARIABLE: Final = "MODRWKV_MAX_FILE_BYTES"

MAX_PIXELS: Final = 89_478_485
"""Pixels above which a file's frames are refused unless told otherwise, as those of images are."""

MAX_PIXELS_VARIABLE: Final = "MODRWKV_MAX_IMAGE_PIXELS"


class VideoModality(Modality[Video]):
    """Reads the index of MP4, MOV, WebM, Matroska, AVI and GIF files; their frames are decoded when an encoder asks.

    The rotation that a camera notes down is applied. Sound is not read.

    Args:
        max_bytes: Larger files are refused; by default what ``MODRWKV_MAX_FILE_BYTES`` says, else 2 GiB.
        max_pixels: Files with larger frames are refused; by default what ``MODRWKV_MAX_IMAGE_PIXELS`` says, else as
            many as images may have.
    """

    def __init__(self, max_bytes: int | None = None, max_pixels: int | None = None) -> None:
        self.max_bytes = _limit(MAX_BYTES_VARIABLE, MAX_BYTES) if max_bytes is None else max_bytes
        self.max_pixels = _limit(MAX_PIXELS_VARIABLE, MAX_PIXELS) if max_pixels is None else max_pixels

    def decode(self, media: str | Path | bytes | NDArray[Any] | Sequence[Any] | Video) -> Video:
        """Decode ``media``, as far as it is needed to know what frames there are.

        Args:
            media: A path, the bytes of a file, a video, an array ``[frames, height, width, 3]`` in uint8, a list of
                images of one size (arrays, Pillow images in RGB, or images of the modality ``image``), or a tuple
                of either with its frames per second.

        Raises:
            DataError: The file is missing, empty, damaged, truncated, too large or no video; there are no frames; or
                the array is of another form.
        """
        if isinstance(media, str | Path | bytes):
            content = media if isinstance(media, bytes) else media_path(media)
            self._weigh(content)
            return probe(content, self.max_pixels)
        video = media if isinstance(media, Video) else _clip(media)
        video.check()
        return video

    def examples(self) -> Sequence[Video]:
        """Return clips of different lengths and sizes, with and without a rate."""
        draw = np.random.default_rng(0)
        sizes = ((1, 8, 8, None), (5, 20, 12, 10.0), (13, 9, 30, 25.0))
        return [
            Clip(draw.integers(0, 256, (frames, height, width, 3), dtype=np.uint8), rate)
            for frames, height, width, rate in sizes
        ]

    def _weigh(self, content: Path | bytes) -> None:
        """Refuse files that are empty or too large before anything is read."""
        if isinstance(content, bytes):
            name, size = "the given bytes", len(content)
        else:
            try:
                name, size = str(content), content.stat().st_size
            except OSError as error:
                raise DataError(f"cannot read {content}: {error.strerror}", hint="check the path") from error
        if not size:
            raise DataError(f"{name} is empty", hint="save it again from its source, or leave it out")
        if size > self.max_bytes:
            raise DataError(
                f"{name} is too large: {size:,} bytes, the limit is {self.max_bytes:,}",
                hint=f"cut it, or set {MAX_BYTES_VARIABLE}",
            )


def _clip(media: Any) -> Clip:
    rate = None
    if isinstance(media, tuple) and len(media) == 2 and isinstance(media[1], int | float):
        media, rate = media[0], float(media[1])
    if not isinstance(media, np.ndarray | list | tuple):
        raise DataError(
            f"a {type(media).__name__} is not a video",
            hint="give a path, the bytes of a file, an array [frames, height, width, 3] or a list of images",
        )
    frames = [frame.pixels if isinstance(frame, Image) else np.asarray(frame) for frame in media]
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) != 1:
        raise DataError(
            f"the frames of a video must be of one size, not {', '.join(map(str, shapes))}"
            if shapes
            else "the given video has no frames"
        )
    return Clip(media if isinstance(media, np.ndarray) else np.stack(frames), rate)


def _limit(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or int(text) == 0:
        raise DataError(f"{variable} is {text!r}, not a whole number above 0", hint="correct or unset it")
    return int(text)
