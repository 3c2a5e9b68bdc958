"""What a manifest may say about ``video_frames``, and the arithmetic of its lengths."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.grids import Grid, grids_of
from modrwkv_core.interfaces.images_config import ImagesEncoderConfig
from modrwkv_core.interfaces.sections import ComponentSection

__all__ = ["VideoFramesConfig"]


class VideoFramesConfig(ImagesEncoderConfig):
    """Frames of a video, each read by an image encoder, averaged patch by patch over windows of frames.

    ``frames: n`` takes what is shown in the middle of n equal stretches of the video, or all frames if it has fewer;
    ``fps`` makes n grow with the video. Each window is a medium of its own in the token stream; the length of an item
    is its number of features.

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

    timestamps: bool = False
    """Whether a text such as ``<12.0s>`` before each window says when its first frame is shown."""

    sound: bool = False
    """Whether each window is followed by the sound until the next one, read as ``audio``; videos without a sound track
    are pictures only."""

    static_threshold: float | None = Field(default=None, ge=0.0, le=255.0)
    """Leaves out patches that changed by at most this much since they were last shown: the mean absolute difference of
    8-bit values; None keeps all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
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
        if self.static_threshold is not None and len(grids_of(self.patches) or ()) != 1:
            raise ValueError(
                f"static_threshold needs to know the place of each patch, but the features of '{self.encoder.type}' "
                "do not form one grid"
            )
        return self

    @property
    def patches(self) -> int:
        """Features of one frame, with their grid if they have one."""
        length = self.encoder.typical_length
        assert length is not None, "refused by the validator"
        return self.encoder.out_length(length)

    @property
    def grid(self) -> Grid:
        """Rows and columns of the features of one frame, with ``static_threshold``."""
        grids = grids_of(self.patches)
        assert grids is not None, "refused by the validator"
        return grids[0]

    @property
    def typical_length(self) -> int:
        """Number of features of a window, which have no grid if some may be left out."""
        return self.patches if self.static_threshold is None else int(self.patches)

    @property
    def other_modalities(self) -> tuple[str, ...]:
        """``audio``, if the sound is read."""
        return ("audio",) if self.sound else ()
