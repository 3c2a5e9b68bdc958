"""Questions about scikit-learn's scanned digits, the test part of UCI's optical digits (CC BY 4.0)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.source import Source
from modrwkv_demo.config import DigitsQaConfig, Part

__all__ = ["DigitsQaSource", "Scans"]

TEST_DIGITS: Final = 360
WHICH: Final = "Which digit is this?"
FULL_INK: Final = 16.0


class Scans:
    """The scanned digits of a part.

    Args:
        part: ``test`` holds the last :data:`TEST_DIGITS`, ``train`` all before them.

    Attributes:
        first: Number of the first scan.
        labels: The digits, in order.
    """

    def __init__(self, part: Part) -> None:
        digits = load_digits()
        border = len(digits.target) - TEST_DIGITS
        chosen = slice(border, None) if part == "test" else slice(border)
        self.first: int = chosen.start or 0
        self.labels: list[int] = digits.target[chosen].tolist()
        self._pixels: NDArray[np.float64] = digits.images[chosen]
        self._places = [np.flatnonzero(digits.target[chosen] == digit) for digit in range(10)]

    def image(self, place: int, scale: int) -> Image:
        """Draw a scan as dark ink on white paper, each of its pixels ``scale`` pixels wide."""
        scan = np.kron(self._pixels[place], np.ones((scale, scale)))
        paper = np.rint(255.0 * (1.0 - scan / FULL_INK)).astype(np.uint8)
        return Image(np.repeat(paper[..., None], 3, axis=2))

    def draw(self, digit: int, random: np.random.Generator, scale: int) -> Image:
        """Draw one of the scans of a digit at random."""
        return self.image(int(random.choice(self._places[digit])), scale)


class DigitsQaSource(Source[DigitsQaConfig]):
    """Asks which digit it is, whether it is even, whether it is large, and whether it is a certain one.

    Apart from the first, a question is answered right half of the time without looking at the image.
    """

    def __init__(self, config: DigitsQaConfig) -> None:
        super().__init__(config)
        self._scans = Scans(config.part)
        self._groups = -(-4 // config.turns) if config.questions == "all" else 1

    def __len__(self) -> int:
        return len(self._scans.labels) * self._groups

    def __getitem__(self, index: int) -> Record:
        place, group = divmod(index, self._groups)
        number = self._scans.first + place
        asked = _questions(self._scans.labels[place], np.random.default_rng([self.config.seed, number]))
        if self.config.questions == "which":
            asked = [(question, answer) for question, answer in asked if question == WHICH]
        turns: list[Turn] = []
        for question, answer in asked[group * self.config.turns : (group + 1) * self.config.turns]:
            picture = Media("image", self._scans.image(place, self.config.scale))
            parts = (Text(question),) if turns else (picture, Text(question))
            turns += [Turn("user", parts), Turn("assistant", (Text(answer),))]
        return Record(f"digits_qa: digit {number}, question {group + 1}", tuple(turns))


def _questions(digit: int, random: np.random.Generator) -> list[tuple[str, str]]:
    guess = digit if random.random() < 0.5 else (digit + int(random.integers(1, 10))) % 10
    questions = [
        (WHICH, str(digit)),
        ("Is it even or odd?", "odd" if digit % 2 else "even"),
        ("Is it larger than 4?", "yes" if digit > 4 else "no"),
        (f"Is it a {guess}?", "yes" if digit == guess else "no"),
    ]
    return [questions[place] for place in random.permutation(len(questions))]
