"""Small videos, written with PyAV."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.container import OutputContainer
from numpy.typing import NDArray

torch.set_num_threads(1)

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4"}


def shades(count: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Frames ``[count, height, width, 3]``, each darker on the left and brighter than the one before."""
    brightness = 20 + 200 * np.arange(count)[:, None] / max(1, count - 1)
    row = np.clip(brightness + np.where(np.arange(width) < width // 2, -15, 15), 0, 255).astype(np.uint8)
    return np.broadcast_to(row[:, None, :, None], (count, height, width, 3)).copy()


def write(
    path: Path,
    frames: NDArray[np.uint8],
    *,
    rate: int = 10,
    codec: str | None = None,
    moments: list[int] | None = None,
    rotation: int = 0,
    sound: tuple[NDArray[np.float32], int] | None = None,
    sound_begins: float = 0.0,
    **options: str,
) -> Path:
    """Write a video.

    Args:
        path: Its suffix is the format.
        frames: ``[count, height, width, 3]``.
        rate: Frames a second.
        codec: By default that of the format.
        moments: The frames' times in hundredths of a second, if their steps are not equal.
        rotation: Of the camera, in degrees.
        sound: Samples ``[channels, samples]`` and their rate.
        sound_begins: When the sound begins, in seconds.
        options: Of the codec.
    """
    gif = path.suffix == ".gif"
    with av.open(str(path), "w") as file:
        chosen = {"g": "6", **options} if not gif else options
        stream: Any = file.add_stream("gif" if gif else codec or CODECS[path.suffix], rate=rate, options=chosen)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "rgb8" if gif else "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        if moments is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        if sound is not None:
            add_sound(file, *sound, sound_begins)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
            if moments is not None:
                frame.pts, frame.time_base = moments[index], Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def add_sound(file: OutputContainer, samples: NDArray[np.float32], rate: int, begins: float) -> None:
    """Write a sound track, losslessly where the format allows it, in packets of a tenth of a second."""
    layout = "mono" if len(samples) == 1 else "stereo"
    track: Any = file.add_stream("aac" if file.format.name == "mp4" else "pcm_f32le", rate=rate, layout=layout)
    for begin in range(0, samples.shape[1], rate // 10):
        chunk = np.ascontiguousarray(samples[:, begin : begin + rate // 10])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), begin + round(begins * rate)
        file.mux(track.encode(frame))
    file.mux(track.encode())


@pytest.fixture
def frames_of() -> Callable[..., NDArray[np.uint8]]:
    """Make frames ``[count, height, width, 3]``."""
    return shades


@pytest.fixture
def video_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a video of ``count`` frames, or of ``frames``, into the test's folder."""

    def make(name: str, count: int = 30, frames: NDArray[np.uint8] | None = None, **options: Any) -> Path:
        return write(tmp_path / name, shades(count) if frames is None else frames, **options)

    return make
