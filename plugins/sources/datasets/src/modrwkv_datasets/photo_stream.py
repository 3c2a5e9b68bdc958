"""Streams of photographs in random order, with questions about what was shown when.

Photographs: CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009), or any others in
folders of their classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_datasets.archive import read_member
from modrwkv_datasets.config import PhotoQuestion, PhotoStreamConfig
from modrwkv_datasets.photographs import members_by_class

__all__ = ["MARK", "Asked", "PhotoStreamSource", "ask"]

MARK: Final = "* "
"""Stands before the marked photograph."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a stream.

    Attributes:
        question: Its words.
        answer: The true answer.
        distance: Photographs after the earliest one that the answer depends on.
    """

    question: str
    answer: str
    distance: int


class PhotoStreamSource(Source[PhotoStreamConfig]):
    """Each record is a stream and questions; the annotation ``distance`` is of the last one."""

    def __init__(self, config: PhotoStreamConfig) -> None:
        super().__init__(config)
        component = f"source/{config.source}"
        self._archive, self._photos = members_by_class(config.path, config.part, config.holdout, component)
        if config.shown_classes is not None and config.shown_classes > len(self._photos):
            raise DataError(
                f"{self._archive} has {len(self._photos)} classes, `shown_classes` asks for {config.shown_classes}",
                component=component,
                hint="lower it, or leave it out to show all",
            )

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        config = self.config
        random = np.random.default_rng([config.seed, ("train", "valid", "test").index(config.part), index])
        length = config.photos
        if config.min_photos is not None:
            ratio = (config.photos + 1) / config.min_photos
            length = min(length, int(config.min_photos * ratio ** random.random()))
        classes = list(self._photos)
        drawn = classes
        if config.shown_classes is not None:
            drawn = [classes[place] for place in random.permutation(len(classes))[: config.shown_classes]]
        shown = [drawn[place] for place in random.integers(len(drawn), size=length)]
        members = [str(random.choice(self._photos[kind])) for kind in shown]
        marked = None
        if "marked" in config.questions:
            marked = length - int(length ** random.random())
        asked = [self._ask(shown, classes, random, marked) for _ in range(config.turns)]
        stream: list[Text | Media] = [Media("image", read_member(self._archive, member)) for member in members]
        if marked is not None:
            stream.insert(marked, Text(MARK))
        turns: list[Turn] = []
        for each in asked:
            question = Text(each.question)
            turns += [
                Turn("user", (question,) if turns else (*stream, question)),
                Turn("assistant", (Text(each.answer),)),
            ]
        key = f"photo_stream: {config.part} stream {index} of {self._archive}"
        return Record(key, tuple(turns), {"distance": asked[-1].distance})

    def _ask(
        self, shown: Sequence[str], classes: Sequence[str], random: np.random.Generator, marked: int | None
    ) -> Asked:
        """Draw a question of a kind that the stream allows; how often something is shown can always be asked."""
        for kind in random.permutation(self.config.questions).tolist():
            if (asked := ask(kind, shown, classes, random, marked)) is not None:
                return asked
        counted = ask("count", shown, classes, random)
        assert counted is not None, "a count can always be asked for"
        return counted


def ask(
    kind: PhotoQuestion,
    shown: Sequence[str],
    classes: Sequence[str],
    random: np.random.Generator,
    marked: int | None = None,
) -> Asked | None:
    """Draw a question about a stream.

    Args:
        kind: Of the question.
        shown: The class of each photograph, in order.
        classes: All classes.
        random: What is asked about depends on it.
        marked: Which photograph has a mark, if one has.

    Returns:
        The question; None if the stream allows none of this kind.
    """
    counts = Counter(shown)
    last = len(shown) - 1

    def one(of: Sequence[str]) -> str:
        return of[int(random.integers(len(of)))]

    match kind:
        case "after" | "before":
            step = 1 if kind == "after" else -1
            once = [each for place, each in enumerate(shown) if counts[each] == 1 and 0 <= place + step <= last]
            if not once:
                return None
            known = one(once)
            place = shown.index(known)
            earliest = min(place, place + step)
            return Asked(f"What comes right {kind} the {known}?", shown[place + step], last - earliest)
        case "first":
            if len(counts) < 2:
                return None
            pair = [sorted(counts)[place] for place in random.permutation(len(counts))[:2]]
            earlier = min(pair, key=shown.index)
            question = f"Which comes first, the {pair[0]} or the {pair[1]}?"
            return Asked(question, earlier, last - shown.index(earlier))
        case "count":
            counted = one(classes)
            earliest = shown.index(counted) if counts[counted] else 0
            return Asked(
                f"How many photographs of the class {counted} are there?", str(counts[counted]), last - earliest
            )
        case "seen":
            absent = [each for each in classes if not counts[each]]
            is_seen = not absent or random.random() < 0.5
            sought = one(sorted(counts)) if is_seen else one(absent)
            earliest = shown.index(sought) if is_seen else 0
            return Asked(f"Is there a photograph of the class {sought}?", "yes" if is_seen else "no", last - earliest)
        case "marked":
            if marked is None:
                return None
            return Asked("What does the marked photograph show?", shown[marked], last - marked)
