"""What a manifest may say about ``video_frames``, and the arithmetic of its lengths."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.grids import joined_length
from modrwkv_core.interfaces.sections import ComponentSection

__all__ = ["VideoFramesConfig"]


class VideoFramesConfig(EncoderConfig):
    """Frames of a video, each read by an image encoder, averaged patch by patch over windows of frames.

    ``frames: n`` takes what is shown in the middle of n equal stretches of the video, or all frames if it has fewer;
    ``fps`` makes n grow with the video. The length of an item is its number of frames.

    Source: the spatial features of Maaz et al., Video-ChatGPT, arXiv 2306.05424, which average each patch over time,
    here in windows.
    """

    type: Literal["video_frames"] = "video_frames"

    encoder: Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder", modality="image")]
    """Reads the frames: any image encoder that gives each the same number of features."""

    frames: int | None = Field(default=None, ge=1)
    """Frames of every video, spread evenly over it; 8 if ``fps`` is not given either."""

    fps: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Frames for each second, instead of ``frames``."""

    max_frames: int = Field(default=64, ge=1)
    """With ``fps``, the most frames; those of a longer video are spread further."""

    window: int = Field(default=2, ge=1)
    """Frames that are averaged, patch by patch; the last window of a video may be partial."""

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if self.frames is not None and self.fps is not None:
            raise ValueError("give either frames or fps")
        if self.frames is None and self.fps is None:
            self.__dict__["frames"] = 8  # frozen for everybody but this validator
        if self.encoder.typical_length is None:
            raise ComponentError(
                f"the encoder '{self.encoder.type}' does not say how many features an image has",
                component="encoder/video_frames",
                hint="use an encoder of fixed resolution",
            )
        return self

    def resolved(self) -> Self:
        """Return a copy whose image encoder needs no outside files."""
        return self.model_copy(update={"encoder": self.encoder.resolved()})

    @property
    def patches(self) -> int:
        """Features of one frame."""
        length = self.encoder.typical_length
        assert length is not None, "refused by the validator"
        return self.encoder.out_length(length)

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        return self.encoder.out_dim

    @property
    def typical_length(self) -> int | None:
        """Number of frames, unless it depends on the video."""
        return self.frames

    def out_length(self, length: int) -> int:
        """Number of features of ``length`` frames: the patches of each window, in their grids."""
        return joined_length([self.patches] * -(-length // self.window))
