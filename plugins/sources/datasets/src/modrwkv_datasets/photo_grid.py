"""Questions about single photographs, and about four in a square: where, beside what, how many, whether.

Photographs: CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009), or any others of one
size in folders of their classes.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.source import Source
from modrwkv_datasets.archive import read_member
from modrwkv_datasets.config import GRID_QUESTIONS, PhotoGridConfig, PhotoGridQuestion
from modrwkv_datasets.photographs import members_by_class

__all__ = ["PhotoGridSource", "ask"]

CORNERS: Final = ("top left", "top right", "bottom left", "bottom right")
"""Of the places of a square, row by row."""

NEIGHBORS: Final = (
    ("left of", 1, 0),
    ("left of", 3, 2),
    ("right of", 0, 1),
    ("right of", 2, 3),
    ("above", 2, 0),
    ("above", 3, 1),
    ("below", 0, 2),
    ("below", 1, 3),
)
"""A relation, the place that is named, and the place that stands in this relation to it."""


class PhotoGridSource(Source[PhotoGridConfig]):
    """Each record is an image of one or four photographs, and questions about it.

    Raises:
        DataError: The archive is missing, damaged, or has fewer than two classes in the part.
    """

    def __init__(self, config: PhotoGridConfig) -> None:
        super().__init__(config)
        self._archive, by_class = members_by_class(config.path, config.part, config.holdout, f"source/{config.source}")
        self._classes = list(by_class)
        self._photos = [(kind, name) for kind, names in by_class.items() for name in names]
        self._seed = (config.seed, ("train", "valid", "test").index(config.part))

    def __len__(self) -> int:
        return self.config.count or -(-len(self._photos) // self.config.grid**2)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        config = self.config
        cells = config.grid**2
        random = np.random.default_rng([*self._seed, index])
        rounds = (divmod(place, len(self._photos)) for place in range(index * cells, (index + 1) * cells))
        chosen = [self._photos[_shuffled(len(self._photos), self._seed, nth)[place]] for nth, place in rounds]
        shown = [kind for kind, _ in chosen]
        pixels = [_decoded(self._archive, member) for _, member in chosen]
        if config.mirror:
            pixels = [each[:, ::-1] if random.random() < 0.5 else each for each in pixels]
        asked = dict(self._ask(shown, random) for _ in range(config.turns))
        turns: list[Turn] = []
        for question, answer in asked.items():
            parts = (Text(question),) if turns else (Media("image", Image(self._pasted(pixels))), Text(question))
            turns += [Turn("user", parts), Turn("assistant", (Text(answer),))]
        return Record(f"{config.source}: {config.part} image {index} of {self._archive}", tuple(turns))

    def _ask(self, shown: Sequence[str], random: np.random.Generator) -> tuple[str, str]:
        """Draw a question of a kind that the image allows; a corner can always be asked for."""
        for kind in random.permutation(self.config.questions or GRID_QUESTIONS[self.config.grid]).tolist():
            if (asked := ask(kind, shown, self._classes, random)) is not None:
                return asked
        corner = ask("corner", shown, self._classes, random)
        assert corner is not None, "a corner can always be asked for"
        return corner

    def _pasted(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        side = self.config.grid
        if len({each.shape for each in pixels}) > 1:
            raise DataError(
                f"{self._archive} has photographs of different sizes",
                component=f"source/{self.config.source}",
                hint="resize all photographs to one size",
            )
        rows = [np.concatenate(pixels[first : first + side], axis=1) for first in range(0, side * side, side)]
        return np.concatenate(rows)


def ask(
    kind: PhotoGridQuestion, shown: Sequence[str], classes: Sequence[str], random: np.random.Generator
) -> tuple[str, str] | None:
    """Draw a question about an image.

    Args:
        kind: Of the question.
        shown: The class of each photograph, row by row.
        classes: All classes.
        random: What is asked about depends on it.

    Returns:
        The question and its answer; None if the image allows none of this kind.
    """
    match kind:
        case "what":
            return "What is in the picture?", shown[0]
        case "corner":
            place = int(random.integers(len(CORNERS)))
            return f"What is at the {CORNERS[place]}?", shown[place]
        case "beside":
            counts = Counter(shown)
            known = [each for each in NEIGHBORS if counts[shown[each[1]]] == 1]
            if not known:
                return None
            relation, named, sought = known[int(random.integers(len(known)))]
            return f"What is {relation} the {shown[named]}?", shown[sought]
        case "count":
            counted = _shown_or_absent(shown, classes, random)
            return f"How many photographs show {_with_article(counted)}?", str(shown.count(counted))
        case "seen":
            sought_class = _shown_or_absent(shown, classes, random)
            return f"Is there {_with_article(sought_class)}?", "yes" if sought_class in shown else "no"


def _shown_or_absent(shown: Sequence[str], classes: Sequence[str], random: np.random.Generator) -> str:
    """Draw a class, half of the time one that is shown."""
    absent = [each for each in classes if each not in shown]
    among = sorted(set(shown)) if not absent or random.random() < 0.5 else absent
    return among[int(random.integers(len(among)))]


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


@lru_cache(maxsize=128)
def _shuffled(count: int, seed: tuple[int, int], nth: int) -> NDArray[np.int64]:
    """Return the order of the photographs in a round."""
    return np.random.default_rng([*seed, nth, count]).permutation(count)


@lru_cache(maxsize=2**15)
def _decoded(archive: Path, member: str) -> NDArray[np.uint8]:
    """Decode a photograph, once in each process: ``[height, width, 3]``."""
    try:
        with PIL.Image.open(io.BytesIO(read_member(archive, member))) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise DataError(f"{member} in the archive {archive} is no image: {error}") from error
