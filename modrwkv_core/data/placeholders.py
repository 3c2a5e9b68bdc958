"""Placeholders such as ``<image>`` in a text mark where media stand, as in LLaVA's data and in prompts.

Only this module interprets them. Everywhere else media are parts of a turn, and a placeholder that is left in a text
names a signal that was not given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Text

__all__ = ["count_placeholders", "place_media"]


def count_placeholders(texts: Iterable[str], modality: str) -> int:
    """Count ``<modality>`` in ``texts``."""
    return sum(text.count(f"<{modality}>") for text in texts)


def place_media(texts: Sequence[str], media: Sequence[Media]) -> list[tuple[Part, ...]]:
    """Put each medium where the next placeholder of its modality stands in ``texts``.

    Media of a modality without any placeholder go before the first text, in their order. Line breaks next to a
    placeholder are removed with it: they are typography of the published data sets, not words.

    Returns:
        The parts of each text.

    Raises:
        DataError: A modality has placeholders, but not as many as media.
    """
    given = Counter(item.modality for item in media)
    tagged = {modality for modality in given if count_placeholders(texts, modality)}
    for modality in tagged:
        placeholders = count_placeholders(texts, modality)
        if placeholders != given[modality]:
            raise DataError(
                f"<{modality}> stands {placeholders} times in the text, but {given[modality]} were given",
                hint=f"write <{modality}> once for each, or nowhere to have them all before the text",
            )
    waiting = {modality: iter([item for item in media if item.modality == modality]) for modality in tagged}
    pattern = re.compile(r"\n*<(" + "|".join(map(re.escape, sorted(tagged))) + r")>\n*") if tagged else None

    placed: list[list[Part]] = [[] for _ in texts]
    placed[0].extend(item for item in media if item.modality not in tagged)
    for parts, text in zip(placed, texts, strict=True):
        chunks = pattern.split(text) if pattern else [text]
        for words, modality in zip(chunks[::2], [*chunks[1::2], None], strict=True):
            if words:
                parts.append(Text(words))
            if modality is not None:
                parts.append(next(waiting[modality]))
    return [tuple(parts) for parts in placed]
