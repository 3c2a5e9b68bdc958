"""Configurations of the built-in tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import TaskConfig

__all__ = ["ExactMatchConfig", "ForecastTaskConfig"]


class ExactMatchConfig(TaskConfig):
    """Configuration of the exact-match task: the text of each record's last turn is to be said word for word.

    ``baseline_data`` gives the questions and answers from which the baselines learn. Without it they learn from the
    held-out answers themselves, which makes them better than they could honestly be.
    """

    type: Literal["exact_match"] = "exact_match"

    max_tokens: int = Field(default=32, ge=1)
    """Longest answer, in tokens."""

    batch: int = Field(default=32, ge=1)
    """Questions that the model is asked at a time."""

    examples: int = Field(default=6, ge=0)
    """How many questions the report shows, drawn at random with a fixed seed."""


class ForecastTaskConfig(TaskConfig):
    """Configuration of the forecast task: the series before each record's last turn is to be continued.

    ``baseline_data`` gives the windows whose mean, column by column, is one of the baseline forecast.
    """

    type: Literal["forecast"] = "forecast"

    period: int | None = Field(default=None, ge=1)
    """Points of a season, for the baseline forecast that repeats the last one; null leaves that forecast out."""

    batch: int = Field(default=32, ge=1)
    """Series that the model continues at a time."""

    examples: int = Field(default=4, ge=0)
    """How many forecasts the report shows, drawn at random with a fixed seed."""
