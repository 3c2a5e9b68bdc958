"""Placeholders such as ``<image>`` in a text mark where media stand, as in LLaVA's data and in prompts.

Only this module interprets them, in formats that list media beside the text. Everywhere else media are parts of a turn
and text is text, so that a question may be about the ``<audio>`` element of HTML.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Text

__all__ = ["check_placeholders", "count_placeholders", "listed_media", "place_media"]

_LISTS: Final = {
    "image": "image",
    "images": "image",
    "audio": "audio",
    "audios": "audio",
    "video": "video",
    "videos": "video",
}
"""Keys under which data sets list the media of a conversation, as LLaVA, LLaMA-Factory and ms-swift write them."""


def listed_media(record: Mapping[str, Any], find: Callable[[str], Any]) -> list[Media] | None:
    """Return the media that a record lists beside its conversation, None if it has no key for them.

    Args:
        record: The record; ``image``, ``audio`` and ``video`` and their plurals hold a path or a list of paths.
        find: Path to medium.

    Raises:
        DataError: Such a key holds something else.
    """
    given = {key: modality for key, modality in _LISTS.items() if key in record}
    media = []
    for key, modality in given.items():
        paths = [record[key]] if isinstance(record[key], str) else record[key] or []
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise DataError(f"'{key}' should be a path or a list of paths, not {str(record[key])[:80]}")
        media += [Media(modality, find(path)) for path in paths]
    return media if given else None


def check_placeholders(texts: Sequence[str], media: Sequence[Media]) -> None:
    """Refuse texts that name a medium, such as ``<video>``, of a modality of which none is given.

    Raises:
        DataError: A text does.
    """
    for modality in sorted(set(_LISTS.values()) - {item.modality for item in media}):
        if count_placeholders(texts, modality):
            raise DataError(
                f"the text names <{modality}>, but the record has no '{modality}'",
                hint=f"list the file under '{modality}', or write the word without angle brackets",
            )


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
