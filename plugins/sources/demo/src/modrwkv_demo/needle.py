"""Needles in a stream: a few digits with names among many without, asked for at the end.

The task is recall by name, as in needle-in-a-haystack tests and in the synthetic tasks of Arora et al., Zoology,
arXiv 2312.04927, with media for values.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.source import Source
from modrwkv_demo.config import NAMES, NeedleConfig
from modrwkv_demo.digits_qa import Scans
from modrwkv_demo.keypad_tones import recording

__all__ = ["FILLER", "NeedleSource"]

FILLER: Final = "-"
"""Stands where a digit has no name."""

RATE: Final = 8000
SCALE: Final = 2  # pixels that a scanned pixel becomes in either direction


class NeedleSource(Source[NeedleConfig]):
    """Each record is a stream and questions such as ``What is C?``; the annotation ``distance`` is of the last one.

    The distance of a needle is the number of digits after it.
    """

    def __init__(self, config: NeedleConfig) -> None:
        super().__init__(config)
        self._scans = Scans(config.part) if config.media == "image" else None

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        config = self.config
        random = np.random.default_rng([config.seed, config.part == "test", index])
        length = config.items
        if config.min_items is not None:
            ratio = (config.items + 1) / config.min_items
            length = min(length, int(config.min_items * ratio ** random.random()))
        digits = random.integers(10, size=length)
        nearness = 1 / np.arange(1, length + 1)
        count = min(config.needles, length)
        distances = random.choice(length, size=count, replace=False, p=nearness / nearness.sum()).tolist()
        names = [NAMES[place] for place in random.choice(len(NAMES), size=count, replace=False)]
        named = {length - 1 - distance: name for distance, name in zip(distances, names, strict=True)}
        parts: list[Text | Media] = []
        for place, digit in enumerate(digits.tolist()):
            parts += self._item(named.get(place, FILLER), digit, random)
        asked = random.permutation(count)[: config.questions].tolist()
        turns: list[Turn] = []
        for needle in asked:
            question = Text(f"What is {names[needle]}?")
            answer = Text(str(digits[length - 1 - distances[needle]]))
            turns += [Turn("user", (question,) if turns else (*_joined(parts), question)), Turn("assistant", (answer,))]
        return Record(f"needle: {config.part} stream {index}", tuple(turns), {"distance": distances[asked[-1]]})

    def _item(self, name: str, digit: int, random: np.random.Generator) -> list[Text | Media]:
        match self.config.media:
            case "text":
                return [Text(f"{name}{digit} ")]
            case "image":
                assert self._scans is not None
                shown = Media("image", self._scans.draw(digit, random, SCALE))
            case "audio":
                shown = Media("audio", Waveform(recording(str(digit), RATE, random), RATE))
        return [Text(name), shown, Text(" ")]


def _joined(parts: list[Text | Media]) -> tuple[Text | Media, ...]:
    """Join neighboring texts."""
    joined: list[Text | Media] = []
    for part in parts:
        before = joined[-1] if joined else None
        if isinstance(part, Text) and isinstance(before, Text):
            joined[-1] = Text(before.text + part.text)
        else:
            joined.append(part)
    return tuple(joined)
