"""Which frames are read, and their tensors.

F = frames that are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_video.config import VideoFramesConfig
from modrwkv_video.signal import Video

__all__ = ["VideoFramesProcessor", "spread"]


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
        """Make the encoder's tensors of an image with an axis of frames in front, ``[F, ...]``; the length is F."""
        signal.check()
        frames = [self.encoder(picture) for picture in signal.pictures(spread(signal.moments, self._count(signal)))]
        for frame in frames:
            if frame.length != self.config.encoder.typical_length:
                raise DataError(
                    f"the encoder '{self.config.encoder.type}' makes {frame.length} of a frame of this size, where "
                    f"{self.config.encoder.typical_length} are usual",
                    component="encoder/video_frames",
                    hint="use an encoder that gives all images the same number of features",
                )
        names = frames[0].tensors
        return MediaItem({name: torch.stack([frame.tensors[name] for frame in frames]) for name in names}, len(frames))

    def _count(self, signal: Video) -> int:
        if self.config.fps is None:
            assert self.config.frames is not None, "completed by the validator"
            return self.config.frames
        if signal.seconds is None:
            raise DataError(
                f"to read {self.config.fps:g} frames a second of a video in memory, it must be known how fast it is",
                component="encoder/video_frames",
                hint="give (frames, frames per second), or set `frames` instead of `fps`",
            )
        return min(self.config.max_frames, max(1, round(signal.seconds * self.config.fps)))
