"""What a manifest may say about the data sets. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.paths import DataPath

__all__ = [
    "GRID_QUESTIONS",
    "AishellConfig",
    "EasyVqaConfig",
    "FsddConfig",
    "LibriSpeechConfig",
    "LibriSpeechSplit",
    "Part",
    "PhotoGridConfig",
    "PhotoGridQuestion",
    "PhotoQuestion",
    "PhotoStreamConfig",
]

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
    """Spoken digits: takes 0 to 4 are the official test set, the others are there to learn from.

    With ``test_speaker``, the test set holds all recordings of a speaker whom training does not hear.
    """

    source: Literal["fsdd"] = "fsdd"

    path: DataPath = Field(default=Path("fsdd/fsdd_recordings.zip"), validate_default=True)
    """Archive of recordings ``{digit}_{speaker}_{take}.wav``."""

    part: Part = "train"
    """``test`` is the official test set; ``valid`` is held back from the official training set, by take."""

    valid_takes: int = Field(default=5, ge=0)
    """How many of the last takes ``valid`` holds."""

    test_speaker: str | None = None
    """Speaker to leave out: ``test`` holds all takes of this one, ``train`` and ``valid`` all takes of the others.
    Null: the official parts, in which all speakers are in all of them."""

    prompt: str = "Which digit is spoken?"
    """What the user says after the recording."""


LibriSpeechSplit: TypeAlias = Literal[
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
]


class LibriSpeechConfig(SourceConfig):
    """Read English books: 16 kHz, up to 35 s an utterance, 960 hours to learn from."""

    source: Literal["librispeech"] = "librispeech"

    path: DataPath = Field(default=Path("LibriSpeech"), validate_default=True)
    """The folder with a folder for each split, as the archives unpack."""

    splits: tuple[LibriSpeechSplit, ...] = Field(default=("train-clean-100",), min_length=1)
    """The splits to read."""

    lower: bool = True
    """Whether transcripts, which are published in capitals, are read in small letters."""

    prompt: str = ""
    """What the user says after the recording."""


class AishellConfig(SourceConfig):
    """Read Mandarin sentences: 16 kHz, 178 hours of 400 speakers."""

    source: Literal["aishell"] = "aishell"

    path: DataPath = Field(default=Path("data_aishell"), validate_default=True)
    """The folder with ``transcript`` and ``wav``; the archives of the speakers must be unpacked."""

    split: Literal["train", "dev", "test"] = "train"
    """The official part."""

    spaces: bool = False
    """Whether the spaces between words, which the transcripts have, are kept."""

    prompt: str = ""
    """What the user says after the recording."""


PhotoQuestion: TypeAlias = Literal["after", "before", "first", "count", "seen", "marked"]


class PhotoStreamConfig(SourceConfig):
    """Questions about streams of shuffled photographs of ten classes, as about the shots of a video."""

    source: Literal["photo_stream"] = "photo_stream"

    path: DataPath = Field(default=Path("cifar10_photos"), validate_default=True)
    """Folder with ``train.zip`` and ``test.zip``, photographs ``{class}/{name}.jpg``."""

    part: Part = "train"
    """``test`` is the official test set; ``valid`` is held back from the training photographs."""

    holdout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the training photographs of each class that ``valid`` holds: the last ones."""

    count: int = Field(default=1000, ge=1)
    """Number of streams."""

    photos: int = Field(default=16, ge=2)
    """Photographs of a stream."""

    min_photos: int | None = Field(default=None, ge=2)
    """Photographs of the shortest stream: lengths are then drawn evenly on a logarithmic scale up to ``photos``. Null:
    all streams have ``photos``."""

    shown_classes: int | None = Field(default=None, ge=2)
    """Classes that a stream shows, drawn anew for each. Fewer than there are leave something to ask about a long
    stream, in which otherwise everything was seen. Null: all."""

    questions: tuple[PhotoQuestion, ...] = Field(default=("after", "before", "first", "count", "seen"), min_length=1)
    """What is asked: the class right ``after`` or ``before`` one that is shown once, which of two comes ``first``, how
    many of one there are (``count``), whether one was ``seen``, or which has a mark (``marked``). Where ``marked`` is
    asked, a star stands before one photograph; how far it lies from the stream's end is drawn evenly on a logarithmic
    scale."""

    turns: int = Field(default=1, ge=1)
    """Questions about a stream."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other streams and questions."""

    @model_validator(mode="after")
    def _lengths_are_a_range(self) -> Self:
        if self.min_photos is not None and self.min_photos > self.photos:
            raise ValueError(f"`min_photos` must not be above `photos`, but {self.min_photos} is above {self.photos}")
        return self


PhotoGridQuestion: TypeAlias = Literal["what", "corner", "beside", "count", "seen"]

GRID_QUESTIONS: Final[Mapping[int, tuple[PhotoGridQuestion, ...]]] = {
    1: ("what",),
    2: ("corner", "beside", "count", "seen"),
}


class PhotoGridConfig(SourceConfig):
    """Questions about photographs of ten classes, one by one or four in a square."""

    source: Literal["photo_grid"] = "photo_grid"

    path: DataPath = Field(default=Path("cifar10_photos"), validate_default=True)
    """Folder with ``train.zip`` and ``test.zip``, photographs of one size ``{class}/{name}.jpg``."""

    part: Part = "train"
    """``test`` is the official test set; ``valid`` is held back from the training photographs."""

    holdout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the training photographs of each class that ``valid`` holds: the last ones."""

    count: int | None = Field(default=None, ge=1)
    """Number of images. Null: as many as it takes to show each photograph once. Each round through all photographs
    has an order of its own."""

    grid: Literal[1, 2] = 2
    """Photographs in each row and column of an image."""

    questions: tuple[PhotoGridQuestion, ...] | None = Field(default=None, min_length=1)
    """What is asked: of a single photograph, ``what`` it shows; of four, which class is in a ``corner``, or ``beside``
    one that is shown once (left, right, above, below), how many show one (``count``), or whether any does (``seen``).
    Null: all that the grid allows."""

    turns: int = Field(default=1, ge=1)
    """Questions about an image, at most; none is asked twice."""

    mirror: bool = False
    """Whether half of the photographs, drawn at random, are mirrored before they are put in their places."""

    seed: int = Field(default=0, ge=0)
    """Another seed gives other images and questions."""

    @model_validator(mode="after")
    def _questions_fit_the_grid(self) -> Self:
        allowed = GRID_QUESTIONS[self.grid]
        for question in self.questions or ():
            if question not in allowed:
                raise ValueError(f"`questions` of a grid of {self.grid} are {', '.join(allowed)}, not {question}")
        return self
