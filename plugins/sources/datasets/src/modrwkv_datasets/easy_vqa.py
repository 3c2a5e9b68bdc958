"""easy-VQA: template questions about small images with one colored shape.

Source: github.com/vzhou842/easy-VQA (MIT).
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_datasets.archive import read_member
from modrwkv_datasets.config import EasyVqaConfig

__all__ = ["EasyVqaSource"]

Question = tuple[str, str]


class EasyVqaSource(Source[EasyVqaConfig]):
    """Each record is one image with up to ``turns`` questions; the questions are in the data set's own words."""

    def __init__(self, config: EasyVqaConfig) -> None:
        super().__init__(config)
        folder = config.path / ("test" if config.part == "test" else "train")
        self._archive = folder / "images.zip"
        of_picture = _read(folder / "questions.json")
        if config.part != "test":
            of_picture = _hold_back(of_picture, config)
        if config.questions == "what":
            of_picture = {
                picture: [each for each in questions if each[0].startswith("what ")]
                for picture, questions in of_picture.items()
            }
        self._records = [
            (picture, group)
            for picture, questions in of_picture.items()
            for group in _grouped(questions, config.turns, np.random.default_rng([config.seed, picture]))
        ]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        picture, questions = self._records[index]
        member = f"{picture}.png"
        media = Media("image", read_member(self._archive, member))
        turns: list[Turn] = []
        for question, answer in questions:
            parts = (Text(question),) if turns else (media, Text(question))
            turns += [Turn("user", parts), Turn("assistant", (Text(answer),))]
        return Record(f"{self._archive}:{member}: {questions[0][0]}", tuple(turns))


def _read(path: Path) -> dict[int, list[Question]]:
    """Read a list of ``[question, answer, image]``; return the questions of each image, images in order."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="is data_root the right folder?") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    of_picture: defaultdict[int, list[Question]] = defaultdict(list)
    for entry in entries if isinstance(entries, list) else [entries]:
        match entry:
            case [str(question), str(answer), int(picture)]:
                of_picture[picture].append((question, answer))
            case _:
                raise DataError(f"{path} should list [question, answer, image], not {str(entry)[:80]}")
    return dict(sorted(of_picture.items()))


def _hold_back(of_picture: dict[int, list[Question]], config: EasyVqaConfig) -> dict[int, list[Question]]:
    # The seed of the manifest plays no part: whatever it is, train and valid never share an image.
    shuffled = np.random.default_rng(0).permutation(list(of_picture)).tolist()
    held = set(shuffled[: round(config.holdout * len(shuffled))])
    return {picture: asked for picture, asked in of_picture.items() if (picture in held) == (config.part == "valid")}


def _grouped(questions: list[Question], turns: int, random: np.random.Generator) -> list[list[Question]]:
    if turns == 1:
        return [[question] for question in questions]
    shuffled = [questions[place] for place in random.permutation(len(questions))]
    return [shuffled[first : first + turns] for first in range(0, len(shuffled), turns)]
