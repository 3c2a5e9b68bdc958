"""Which frames are read, their tensors, and what stands around them in the token stream.

F = frames that are read, M = windows, P = features of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.grids import joined_length
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_video.config import VideoFramesConfig
from modrwkv_video.signal import Video
from modrwkv_video.static_patches import StaticPatches

__all__ = ["CHANGED", "VideoFramesProcessor", "sound_spans", "spread"]

CHANGED: Final = "changed_patches"
"""Tensor of an item that says which of its ``M * P`` features are kept; without it, all are."""

LONGEST_SOUND: Final = 30.0
"""Seconds of sound that are one medium at most: as much as Whisper hears, and a bound for the memory."""


def spread(moments: NDArray[np.int64], count: int) -> list[int]:
    """Choose the frames that are shown in the middle of ``count`` equal stretches of a video, each once.

    Args:
        moments: When each frame is shown first, rising; the last is taken to be shown as long as the others are on
            average.
        count: Stretches.
    """
    begin, frames = int(moments[0]), len(moments)
    length = (int(moments[-1]) - begin) * frames / max(1, frames - 1)
    middles = begin + (np.arange(count) + 0.5) * length / count
    chosen: list[int] = np.unique(np.searchsorted(moments, middles, side="right") - 1).tolist()
    return chosen


def sound_spans(begins: Sequence[float], film_end: float, sound_end: float) -> list[list[tuple[float, float]]]:
    """Divide a sound track among windows: each is followed by the sound until the next one.

    Args:
        begins: When each window begins, in seconds, rising. The sound before the first one belongs to it.
        film_end: When the pictures end.
        sound_end: When the sound ends.

    Returns:
        Of each window, the stretches of its sound, equally long, at most :data:`LONGEST_SOUND`. The last one with any
        sound may go on after its end; the sound after the last picture belongs to the last window.
    """
    bounds = [0.0, *begins[1:], max(film_end, sound_end)]
    spans = []
    for begin, end in pairwise(bounds):
        count = math.ceil((end - begin) / LONGEST_SOUND)
        edges = np.linspace(begin, end, count + 1).tolist()
        spans.append([(start, stop) for start, stop in pairwise(edges) if start < sound_end])
    return spans


class VideoFramesProcessor(Processor[VideoFramesConfig, Video]):
    """Takes frames of a video and processes each as its encoder's images.

    Args:
        config: The configuration.
        encoder: The processor of the image encoder.
    """

    def __init__(self, config: VideoFramesConfig, encoder: Processor[Any, Image]) -> None:
        super().__init__(config)
        self.encoder = encoder

    def __call__(self, signal: Video) -> MediaItem:
        """Make one item of all windows: the encoder's tensors of an image with an axis of frames in front."""
        items = [item for item in self._items(signal, self._windows(signal)) if item is not None]
        tensors = {name: torch.cat([item.tensors[name] for item in items]) for name in items[0].tensors}
        if CHANGED in tensors:
            places = [item.tensors[CHANGED] + place * self.config.patches for place, item in enumerate(items)]
            tensors[CHANGED] = torch.cat(places)
        return MediaItem(tensors, joined_length(item.length for item in items))

    def parts(self, signal: Video) -> Iterator[MediaItem | Text | Media]:
        """Yield each window as an item, after its time and before its sound if the configuration wants them.

        Only one window is in memory.
        """
        windows = self._windows(signal)
        begins = self._begins(signal, windows) if self.config.timestamps or self.config.sound else []
        spans: list[list[tuple[float, float]]] = [[] for _ in windows]
        if self.config.sound and signal.seconds is not None:
            spans = sound_spans(begins, signal.seconds, signal.sound_seconds)
        sounds = signal.sounds([span for of_window in spans for span in of_window])
        for number, item in enumerate(self._items(signal, windows)):
            if item is not None:
                if self.config.timestamps:
                    yield Text(f"<{begins[number]:.1f}s>")
                yield item
            for _ in spans[number]:
                yield Media("audio", next(sounds))

    def _items(self, signal: Video, windows: Sequence[Sequence[int]]) -> Iterator[MediaItem | None]:
        """Yield the item of each window, None if nothing has changed in it."""
        threshold = self.config.static_threshold
        static = None if threshold is None else StaticPatches(self.config.grid, threshold)
        pictures = signal.pictures([frame for window in windows for frame in window])
        for window in windows:
            frames = [self._frame(next(pictures)) for _ in window]
            tensors = {name: torch.stack([frame.tensors[name] for frame in frames]) for name in frames[0].tensors}
            if static is None:
                yield MediaItem(tensors, self.config.patches)
                continue
            changed = static.changed(self._pixels(tensors))
            yield MediaItem({**tensors, CHANGED: changed}, len(changed)) if len(changed) else None

    def _frame(self, picture: Image) -> MediaItem:
        frame = self.encoder(picture)
        usual = self.config.encoder.typical_length
        if frame.length != usual:
            raise DataError(
                f"the encoder '{self.config.encoder.type}' makes {frame.length} of a frame of this size, where "
                f"{usual} are usual",
                component="encoder/video_frames",
                hint="use an encoder that gives all images the same number of features",
            )
        return frame

    def _pixels(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        match list(tensors.values()):
            case [torch.Tensor(dtype=torch.uint8, ndim=4) as pixels]:
                return pixels
        raise DataError(
            f"the processor of '{self.config.encoder.type}' does not make one picture of 8-bit values of a frame, so "
            "patches cannot be compared",
            component="encoder/video_frames",
            hint="leave out static_threshold, or use another image encoder",
        )

    def _windows(self, signal: Video) -> list[list[int]]:
        """Return the numbers of the frames of each window."""
        signal.check()
        chosen = spread(signal.moments, self._count(signal))
        return [chosen[begin : begin + self.config.window] for begin in range(0, len(chosen), self.config.window)]

    def _begins(self, signal: Video, windows: Sequence[Sequence[int]]) -> list[float]:
        """Return when the first frame of each window is shown, in seconds: not all videos have equal steps."""
        moments = signal.moments
        unit = self._known(signal.unit, "`timestamps` and `sound`", "leave them out")
        return [float(moments[window[0]] - moments[0]) * unit for window in windows]

    def _count(self, signal: Video) -> int:
        if self.config.fps is None:
            assert self.config.frames is not None, "completed by the validator"
            return self.config.frames
        seconds = self._known(signal.seconds, "`fps`", "set `frames` instead of `fps`")
        return min(self.config.max_frames, max(1, round(seconds * self.config.fps)))

    def _known(self, time: float | None, key: str, remedy: str) -> float:
        if time is None:
            raise DataError(
                f"for {key}, it must be known how fast a video in memory is",
                component="encoder/video_frames",
                hint=f"give (frames, frames per second), or {remedy}",
            )
        return time
