"""What a video is to its encoder: frames at moments, decoded when they are asked for.

F = frames, H = height, W = width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Image, Waveform

__all__ = ["Clip", "Video"]


class Video(ABC):
    """A moving image, with or without a sound track."""

    __slots__ = ()

    @property
    @abstractmethod
    def moments(self) -> NDArray[np.int64]:
        """When each frame is shown first, ``[F]``, rising, in any unit."""

    @property
    @abstractmethod
    def unit(self) -> float | None:
        """Seconds of a unit of moments; None if nobody said."""

    @property
    @abstractmethod
    def seconds(self) -> float | None:
        """How long it lasts; None if nobody said."""

    @property
    def sound_seconds(self) -> float:
        """When its sound track ends, in seconds after the first frame; 0 without one."""
        return 0.0

    @abstractmethod
    def check(self) -> None:
        """Refuse what has no frames, or whose fields do not fit one another.

        Raises:
            DataError: Saying what is wrong.
        """

    @abstractmethod
    def pictures(self, frames: Sequence[int]) -> Iterator[Image]:
        """Yield the frames of these numbers, which rise.

        Raises:
            DataError: One cannot be decoded.
        """

    def sounds(self, spans: Sequence[tuple[float, float]]) -> Iterator[Waveform]:
        """Yield the sound of each stretch, silence where there is none.

        Args:
            spans: Begin and end of each in seconds after the first frame; they follow one another, and each begins
                before ``sound_seconds``.

        Raises:
            DataError: It cannot be decoded.
        """
        return iter(())


@dataclass(frozen=True, slots=True)
class Clip(Video):
    """A video in memory.

    Attributes:
        pixels: ``[F, H, W, 3]``, uint8, in sRGB.
        rate: Frames for each second; None if nobody said.
    """

    pixels: NDArray[np.uint8]
    rate: float | None = None

    @property
    def moments(self) -> NDArray[np.int64]:
        """The frames' numbers: they follow one another at equal steps."""
        return np.arange(len(self.pixels))

    @property
    def unit(self) -> float | None:
        """Seconds from frame to frame; None if nobody said how fast it is."""
        return None if self.rate is None else 1 / self.rate

    @property
    def seconds(self) -> float | None:
        """How long it lasts; None if nobody said how fast it is."""
        return None if self.rate is None else len(self.pixels) / self.rate

    def check(self) -> None:
        """Refuse pixels of another form, and rates that are none."""
        pixels = self.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise DataError(
                f"an array of the shape {list(pixels.shape)} in {pixels.dtype} is not a video",
                hint="give frames as [frames, height, width, 3] in uint8",
            )
        if not pixels.size:
            raise DataError(f"the video has no frames or no pixels: its shape is {list(pixels.shape)}")
        if self.rate is not None and not 0 < self.rate < np.inf:
            raise DataError(f"a video cannot have {self.rate} frames for each second")

    def pictures(self, frames: Sequence[int]) -> Iterator[Image]:
        """Yield the frames of these numbers."""
        for frame in frames:
            yield Image(self.pixels[frame])
