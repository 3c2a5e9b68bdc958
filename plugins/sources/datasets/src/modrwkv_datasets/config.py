"""What a manifest may say about the data sets. Never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field

from modrwkv_core.interfaces.config import DataPath, SourceConfig

__all__ = ["EasyVqaConfig", "FsddConfig", "Part"]

Part: TypeAlias = Literal["train", "valid", "test"]


class EasyVqaConfig(SourceConfig):
    """Questions about images of colored shapes: 4,000 images to learn from, 1,000 to be evaluated on."""

    source: Literal["easy_vqa"] = "easy_vqa"

    path: DataPath = Field(default=Path("easy_vqa"), validate_default=True)
    """Folder with ``train`` and ``test``, each with ``questions.json`` and ``images.zip``."""

    part: Part = "train"
    """``test`` is the official test set; ``valid`` is held back from the official training set, by image."""

    holdout: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the training images that ``valid`` holds."""

    questions: Literal["all", "what"] = "all"
    """``what`` keeps those that name what is seen (``what color is the shape?``), and so are short captions."""

    turns: int = Field(default=1, ge=1)
    """Questions about one image in a conversation, at most."""

    seed: int = Field(default=0, ge=0)
    """Decides which questions share a conversation."""


class FsddConfig(SourceConfig):
    """Spoken digits: takes 0 to 4 are the official test set, the others are there to learn from."""

    source: Literal["fsdd"] = "fsdd"

    path: DataPath = Field(default=Path("fsdd/fsdd_recordings.zip"), validate_default=True)
    """Archive of recordings ``{digit}_{speaker}_{take}.wav``."""

    part: Part = "train"
    """``test`` is the official test set; ``valid`` is held back from the official training set, by take."""

    valid_takes: int = Field(default=5, ge=0)
    """How many of the last takes ``valid`` holds."""

    prompt: str = "Which digit is spoken?"
    """What the user says after the recording."""
