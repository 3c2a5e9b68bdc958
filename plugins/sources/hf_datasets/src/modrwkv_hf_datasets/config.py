"""What a manifest may say about ``hf_dataset``. Never imports torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.paths import DataPath

__all__ = ["HfDatasetConfig"]


class HfDatasetConfig(SourceConfig):
    """Rows of a Hugging Face dataset as conversations. One of ``path``, ``hub`` and ``url`` says where they lie."""

    source: Literal["hf_dataset"] = "hf_dataset"

    path: DataPath | None = None
    """A folder that ``save_to_disk`` wrote; a folder of data files, as ``load_dataset`` reads it (Parquet, JSON, CSV,
    imagefolder, audiofolder, ...); or a file or pattern, ``train-*.parquet``."""

    hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    """A dataset on the Hugging Face Hub: ``OWNER/NAME``."""

    url: str | None = Field(default=None, pattern=r"^[a-z0-9+]+://.+")
    """Data files at any address that fsspec reads: ``s3://bucket/train-*.parquet``, ``file:///data/a.parquet``."""

    name: str | None = None
    """Which of a dataset's configurations."""

    revision: str | None = None
    """Commit, tag or branch on the Hub; name a commit to have the same data for good."""

    split: str = "train"
    """Which split; unless streamed, also a part of one: ``train[:10%]``."""

    streaming: bool = False
    """Whether to fetch groups of rows when they are first needed, instead of all files beforehand. Parquet only."""

    cache_gib: float = Field(default=64.0, gt=0.0, allow_inf_nan=False)
    """Streaming: size of the groups of rows that are kept on the disk; those not used for longest make room."""

    conversation: str | None = None
    """Column of conversations: lists of ``{"role", "content"}`` or of ``{"from", "value"}``."""

    question: str | None = None
    """Column of what the user says after the media; by default ``prompt``."""

    answer: str | None = None
    """Column of the text that the assistant shall say."""

    prompt: str = ""
    """What the user says after the media, if there is no column of questions."""

    modalities: dict[str, str] | None = None
    """Modality of each column that holds media: ``{photo: image, mfcc: features}``. Values are files, paths, arrays, or
    lists of these. By default, columns of the types Image, Audio and Video."""

    media: DataPath | None = None
    """Folder that relative paths in columns of media are resolved against; by default that of ``path``."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(value is not None for value in (self.path, self.hub, self.url)) != 1:
            raise ValueError("give one of path, hub and url")
        if (self.conversation is None) == (self.answer is None):
            raise ValueError("give one of conversation and answer")
        if self.conversation is not None and (self.question is not None or self.prompt):
            raise ValueError("a column of conversations holds the questions: remove question and prompt")
        if self.question is not None and self.prompt:
            raise ValueError("give one of question and prompt")
        if self.streaming and "[" in self.split:
            raise ValueError("streamed datasets have whole splits only")
        return self
