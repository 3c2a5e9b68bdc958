"""What a manifest may say about the demo's data. Never imports torch."""

from __future__ import annotations

from typing import Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import SourceConfig

__all__ = ["NAMES", "DigitsQaConfig", "KeypadTonesConfig", "MeasuredSeriesConfig", "NeedleConfig", "Part"]

Part: TypeAlias = Literal["train", "test"]


class DigitsQaConfig(SourceConfig):
    """Questions about each of 1,797 scanned digits of 8 x 8 pixels."""

    source: Literal["digits_qa"] = "digits_qa"

    part: Part = "train"
    """``test`` holds the last 360 digits, ``train`` all before them."""

    scale: int = Field(default=2, ge=1)
    """Pixels that each scanned pixel becomes in either direction: 2 makes images of 16 x 16."""

    questions: Literal["all", "which"] = "all"
    """``all`` asks four questions about each digit; ``which`` only which digit it is, as a short caption."""

    turns: int = Field(default=1, ge=1, le=4)
    """Questions about one digit in a conversation, at most."""

    seed: int = Field(default=0, ge=0)
    """Decides the order of the questions and which digit a question guesses."""


class KeypadTonesConfig(SourceConfig):
    """Tones of a telephone's keypad (DTMF) with noise, at random levels, pitches and durations."""

    source: Literal["keypad_tones"] = "keypad_tones"

    part: Part = "train"
    """The parts are synthesized from different random numbers."""

    count: int = Field(default=1000, ge=1)
    """Number of recordings."""

    max_keys: int = Field(default=3, ge=1)
    """Keys pressed in a recording, at most. Half of the recordings hold one key."""

    rate: int = Field(default=8000, ge=4000)
    """Samples per second."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other recordings."""


class MeasuredSeriesConfig(SourceConfig):
    """Windows of measured series, each standardized by its own training part so that errors can be averaged."""

    source: Literal["measured_series"] = "measured_series"

    part: Part = "train"
    """Forecasts of ``test`` lie in the last fifth of each series, those of ``train`` before it."""

    series: tuple[Literal["sunspots", "co2", "elnino"], ...] = Field(
        default=("sunspots", "co2", "elnino"), min_length=1
    )
    """Which: yearly sunspots, weekly carbon dioxide on Mauna Loa, monthly sea surface temperature off Peru."""

    context_length: int = Field(default=96, ge=1)
    """Points that the model sees."""

    horizon: int = Field(default=24, ge=1)
    """Points that it shall forecast."""

    stride: int = Field(default=1, ge=1)
    """Points from one window to the next."""


NAMES: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""What the needles of a stream are called; one token in any tokenizer."""


class NeedleConfig(SourceConfig):
    """Long streams of digits, some of which have a name and are asked for at the end: a test of memory.

    All other digits are filler of the same look or sound. How far the needles lie from the stream's end is drawn evenly
    on a logarithmic scale.
    """

    source: Literal["needle"] = "needle"

    part: Part = "train"
    """The parts are made from different random numbers, and of images also from different scans."""

    count: int = Field(default=1000, ge=1)
    """Number of streams."""

    media: Literal["text", "image", "audio"] = "text"
    """How digits are shown: written, as scanned digits, or as tones of a telephone's keypad."""

    items: int = Field(default=64, ge=1)
    """Digits of a stream, needles included."""

    min_items: int | None = Field(default=None, ge=1)
    """Digits of the shortest stream: lengths are then drawn evenly on a logarithmic scale up to ``items``, which makes
    learning easier. Null: all streams have ``items``."""

    needles: int = Field(default=1, ge=1, le=len(NAMES))
    """Digits that have a name; all of a stream that has no more."""

    questions: int = Field(default=1, ge=1, le=len(NAMES))
    """Needles that are asked for, one after the other; all of them if there are no more."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other streams."""

    @model_validator(mode="after")
    def _lengths_are_a_range(self) -> Self:
        if self.min_items is not None and self.min_items > self.items:
            raise ValueError(f"`min_items` must not be above `items`, but {self.min_items} is above {self.items}")
        return self
