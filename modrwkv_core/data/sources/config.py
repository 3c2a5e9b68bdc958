"""Configurations of the core's data sources. Never imports torch."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.paths import DataPath

__all__ = [
    "ChatConfig",
    "CsvWindowsConfig",
    "LabeledAudioConfig",
    "LabeledFeaturesConfig",
    "LlavaConfig",
    "RowRange",
    "SyntheticSeriesConfig",
    "TextConfig",
    "WebDatasetConfig",
]


_MODALITIES: Final = {
    **dict.fromkeys(("bmp", "gif", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp"), "image"),
    **dict.fromkeys(("flac", "mp3", "ogg", "opus", "wav"), "audio"),
}


def _ascending(rows: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= rows[0] < rows[1]:
        raise ValueError(f"rows [{rows[0]}, {rows[1]}) hold nothing: write [first, one after the last]")
    return rows


RowRange = Annotated[tuple[int, int], AfterValidator(_ascending)]
"""The first row and the one after the last, counted from 0 without the header."""


class ChatConfig(SourceConfig):
    """Conversations with OpenAI-style content parts."""

    source: Literal["chat"] = "chat"

    path: DataPath
    """JSON Lines, or one JSON list."""

    media: DataPath | None = None
    """Folder or zip archive that relative paths of media are resolved against; by default the folder of ``path``."""


class LlavaConfig(SourceConfig):
    """Conversations as LLaVA publishes them."""

    source: Literal["llava"] = "llava"

    path: DataPath
    """One JSON list, or JSON Lines."""

    media: DataPath | None = None
    """Folder or zip archive that paths of images are resolved against; by default the folder of ``path``."""


class LabeledAudioConfig(SourceConfig):
    """Recordings with a text each."""

    source: Literal["labeled_audio"] = "labeled_audio"

    path: DataPath
    """The list: tab- or comma-separated values with a header (``.tsv``, ``.csv``), or JSON Lines."""

    media: DataPath | None = None
    """Folder or zip archive that paths of recordings are resolved against; by default the folder of ``path``."""

    audio_column: str = "path"
    """Column, or key, of a recording's path."""

    text_column: str = "text"
    """Column, or key, of the text that the assistant shall say."""

    where: dict[str, str] = Field(default_factory=dict)
    """Columns, or keys, and the values that rows must have there: ``{split: train}``. By default all rows are read."""

    rows: RowRange | None = None
    """Which of the rows that ``where`` leaves, to hold some of a split back: the first, counted from 0, and the one
    after the last. By default all."""

    prompt: str = ""
    """What the user says after the recording."""


class LabeledFeaturesConfig(SourceConfig):
    """Feature arrays with a text each: a file for each row of a list, or frames of one joined array."""

    source: Literal["labeled_features"] = "labeled_features"

    path: DataPath
    """The list: tab- or comma-separated values with a header (``.tsv``, ``.csv``), or JSON Lines."""

    media: DataPath | None = None
    """Folder or zip archive that paths of arrays are resolved against; by default the folder of ``path``."""

    features_column: str = "path"
    """Column, or key, of the path of a row's array, ``.npy`` or ``.npz`` with one array ``[frames, dims]``."""

    joined: DataPath | None = None
    """One file with the frames of all rows, ``.npy`` or ``.npz`` with one array ``[frames, dims]``. Rows then name
    their frames by ``start_column`` and ``frames_column``."""

    start_column: str = "start_frame"
    """Column, or key, of a row's first frame in the joined array, counted from 0."""

    frames_column: str = "n_frames"
    """Column, or key, of a row's number of frames in the joined array."""

    text_column: str = "text"
    """Column, or key, of the text that the assistant shall say."""

    where: dict[str, str] = Field(default_factory=dict)
    """Columns, or keys, and the values that rows must have there: ``{split: train}``. By default all rows are read."""

    rows: RowRange | None = None
    """Which of the rows that ``where`` leaves, to hold some of a split back: the first, counted from 0, and the one
    after the last. By default all."""

    prompt: str = ""
    """What the user says after the features."""


class WebDatasetConfig(SourceConfig):
    """Samples in WebDataset shards: files of one name and several endings, one sample after the other in tar files."""

    source: Literal["webdataset"] = "webdataset"

    path: DataPath
    """The shards: a tar file, a pattern such as ``train-{0000..0099}.tar`` or ``train-*.tar``, or a folder of them."""

    modalities: dict[str, str] = Field(default_factory=lambda: dict(_MODALITIES), min_length=1)
    """Modality of each ending that holds a medium; by default those of common images and sounds. ``{npy: features}``
    replaces them."""

    conversation: str | None = None
    """Ending of JSON files with a conversation, as sources ``chat`` (``messages``) and ``llava`` (``conversations``)
    read it: ``json``. Its media are the sample's files, in their order. By default a sample is media and an answer."""

    answer: str = "txt"
    """Ending of the text that the assistant shall say."""

    prompt: str = ""
    """What the user says after the media."""


class TextConfig(SourceConfig):
    """Plain texts, to learn and to score; neither training nor the task `perplexity` adds a chat template."""

    source: Literal["text"] = "text"

    path: DataPath
    """UTF-8 text, or JSON Lines (``.jsonl``) with a text in each object, as LAMBADA is published."""

    split: Literal["lines", "articles", "file"] = "lines"
    """What of a text file is one text: each line that is not blank; each article of WikiText, from its title
    ``= Title =`` on; or all of it."""

    text_key: str = "text"
    """Key of the text in the objects of JSON Lines."""


class CsvWindowsConfig(SourceConfig):
    """Windows of the columns of a table of measurements: every column by itself, then the next window."""

    source: Literal["csv_windows"] = "csv_windows"

    path: DataPath
    """The table, with one row for each moment and one column for each channel: text, plain or packed by gzip, or
    Parquet."""

    context_length: int = Field(ge=1)
    """Points that the model sees."""

    horizon: int = Field(ge=1)
    """Points that it shall forecast."""

    head: str | None = None
    """Name of the head that forecasts them; by default the one that answers queries about series."""

    rows: RowRange | None = None
    """Rows that forecasts may lie in; a window may begin before them. By default all."""

    stride: int = Field(default=1, ge=1)
    """Rows from one window to the next."""

    normalize_rows: RowRange | None = None
    """Rows whose mean and population standard deviation normalize each column; by default none are normalized."""

    spread_rows: RowRange | None = None
    """Rows whose population standard deviation is the spread of each column, to which the forecast head ties its least
    unit: name the training rows. By default `normalize_rows`, and without them all rows before a window's forecast."""

    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Columns to read, by heading, or by number from 1 in a table without one; by default all but dates and times."""

    time_column: str | None = None
    """Column of dates, times or numbers that gives the order of the rows; by default found by heading and content."""

    separator: str | None = Field(default=None, pattern=r"^(.|tab)$")
    """Character between columns, or ``tab``; by default whichever of comma, semicolon, tab and bar fits."""

    decimal: Literal[".", ","] | None = None
    """Decimal mark; by default the one that the numbers have."""

    prompt: str = ""
    """What the user says after the series."""


class SyntheticSeriesConfig(SourceConfig):
    """Series drawn from Gaussian processes of random kernels, to pre-train forecasts on."""

    source: Literal["synthetic_series"] = "synthetic_series"

    count: int = Field(default=10_000, ge=1)
    """Number of series; they are made when they are read."""

    context_length: int = Field(ge=1)
    """Points that the model sees."""

    horizon: int = Field(ge=1)
    """Points that it shall forecast."""

    head: str | None = None
    """Name of the head that forecasts them; by default the one that answers queries about series."""

    max_kernels: int = Field(default=5, ge=1, le=20)
    """Most base kernels of a series; how many is drawn, uniformly from 1."""

    periods: tuple[Annotated[float, Field(gt=0.0, allow_inf_nan=False)], ...] = Field(
        default=(4, 7, 12, 24, 24, 30, 48, 52, 96, 168, 365), min_length=1
    )
    """Points of a season, of which one is drawn for each periodic kernel; those that come twice are likelier."""

    max_noise: float = Field(default=0.5, ge=0.0, allow_inf_nan=False)
    """Largest standard deviation of the white noise, where that of a kernel is 1; it is drawn, uniformly from 0."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other series."""

    prompt: str = ""
    """What the user says after the series."""
