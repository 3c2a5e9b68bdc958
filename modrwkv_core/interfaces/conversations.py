"""Conversations as data sets publish them: messages in OpenAI's and in LLaVA's form to the turns of a record."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import decode_base64
from modrwkv_core.interfaces.placeholders import check_placeholders, place_media
from modrwkv_core.interfaces.record import Media, Part, Role, Target, Text, Turn

__all__ = ["chat_turns", "llava_turns"]

_ROLES: Final = get_args(Role)

_SPEAKERS: Final[dict[str, Role]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


def chat_turns(messages: Any, find: Callable[[str], Any], media: Sequence[Media] | None = None) -> tuple[Turn, ...]:
    """Make turns of ``[{"role": ..., "content": ...}, ...]``, where content is a text or a list of parts.

    A part without anything to read, ``{"type": "image"}``, stands for the next of ``media``. Without such parts,
    ``media`` go where placeholders such as ``<image>`` stand in questions, else before the first question. Without
    ``media``, text is text, whatever it holds.

    Args:
        messages: The messages.
        find: Path of a medium to the medium.
        media: What is given beside the messages; None if the format has no place for it.

    Raises:
        DataError: The messages have another form, or do not fit the media.
    """
    if not isinstance(messages, list):
        raise DataError("has no list 'messages'", hint='a record is {"messages": [{"role": ..., "content": ...}]}')
    reader = _Messages(find, media or ())
    turns = tuple(map(reader.turn, messages))
    if reader.placed:
        reader.check_all_placed()
    elif media is not None:
        return _with_listed(turns, media)
    return turns


def llava_turns(conversations: Any, media: Sequence[Media]) -> tuple[Turn, ...]:
    """Make turns of ``[{"from": "human" | "gpt", "value": ...}, ...]``.

    ``<image>`` in a question gives the place of the next image; without any placeholder, images stand before the first
    question. Answers are text, whatever they hold. The published mixture holds conversations that begin in the middle,
    with the assistant; as in LLaVA's own loader, that first answer is left out.

    Args:
        conversations: The messages.
        media: What is given beside them.

    Raises:
        DataError: The messages have another form, hold no question, or do not fit the media.
    """
    said = _said(conversations)
    if said and said[0][0] == "assistant":
        del said[0]
    if not any(role == "user" for role, _ in said):
        raise DataError("holds no question")
    asked = [text for role, text in said if role == "user"]
    check_placeholders(asked, media)
    placed = iter(place_media(asked, media))
    parts = [next(placed) if role == "user" else (Text(text),) for role, text in said]
    return tuple(Turn(role, turn) for (role, _), turn in zip(said, parts, strict=True))


class _Messages:
    """Reads the messages of one conversation.

    Args:
        find: Path of a medium to the medium.
        media: What parts without anything to read stand for.

    Attributes:
        placed: Number of such parts so far.
    """

    def __init__(self, find: Callable[[str], Any], media: Sequence[Media]) -> None:
        self._find = find
        self._waiting: defaultdict[str, deque[Media]] = defaultdict(deque)
        for medium in media:
            self._waiting[medium.modality].append(medium)
        self.placed = 0

    def turn(self, message: Any) -> Turn:
        role = _take(message, "role", str)
        if role not in _ROLES:
            raise DataError(f"unknown role '{role}'", hint=f"roles are {', '.join(_ROLES)}")
        content = message.get("content")
        if isinstance(content, str):
            return Turn(role, (Text(content),))
        if not isinstance(content, list):
            raise DataError(f"the content of the {role}'s message is neither a text nor a list of parts")
        return Turn(role, tuple(map(self._part, content)))

    def check_all_placed(self) -> None:
        for modality, media in self._waiting.items():
            if media:
                raise DataError(
                    f"{len(media)} of the given media of modality '{modality}' have no part in the messages",
                    hint=f'write {{"type": "{modality}"}} once for each',
                )

    def _part(self, part: Any) -> Part:
        match _take(part, "type", str):
            case "text":
                return Text(_take(part, "text", str))
            case "image_url":
                return Media("image", self._url(_take(_take(part, "image_url", dict), "url", str)))
            case "input_audio":
                return Media("audio", decode_base64(_take(_take(part, "input_audio", dict), "data", str)))
            case "target":
                head = _take(part, "head", str) if part.get("head") is not None else None
                return Target(head, _target(part))
            case modality:
                return self._medium(part, modality)

    def _medium(self, part: Mapping[str, Any], modality: str) -> Media:
        match [name for name in ("path", "data", "values") if part.get(name) is not None]:
            case ["path"]:
                return Media(modality, self._find(_take(part, "path", str)))
            case ["data"]:
                return Media(modality, decode_base64(_take(part, "data", str)))
            case ["values"]:
                return Media(modality, _numbers(_take(part, "values", list)))
            case [] if self._waiting[modality]:
                self.placed += 1
                return self._waiting[modality].popleft()
            case given:
                raise DataError(
                    f"a part of type '{modality}' has {' and '.join(given) or 'nothing'} to read",
                    hint="give one of path, data (base64) and values (numbers)",
                )

    def _url(self, url: str) -> Any:
        if url.startswith("data:"):
            head, _, body = url.partition(",")
            return decode_base64(unquote(body)) if head.endswith(";base64") else unquote_to_bytes(body)
        if url.startswith("file://"):
            return Path(unquote(urlsplit(url).path))
        if "://" in url:
            raise DataError(
                f"{url} is not on this machine", hint="download it and give its path: nothing is fetched here"
            )
        return self._find(url)


def _with_listed(turns: Sequence[Turn], media: Sequence[Media]) -> tuple[Turn, ...]:
    """Put media that are listed beside the messages into the questions."""
    texts = ["".join(part.text for part in turn.parts if isinstance(part, Text)) for turn in turns]
    if any(isinstance(part, Media) for turn in turns for part in turn.parts):
        raise DataError("media are listed and are parts of messages, too", hint="give all of them in one way")
    asked = [text for turn, text in zip(turns, texts, strict=True) if turn.role == "user"]
    if not asked:
        raise DataError("lists media, but holds no question")
    check_placeholders(asked, media)
    placed = iter(place_media(asked, media))
    return tuple(Turn(turn.role, next(placed)) if turn.role == "user" else turn for turn in turns)


def _said(conversations: Any) -> list[tuple[Role, str]]:
    if not isinstance(conversations, list):
        raise DataError("has no list 'conversations'")
    said = []
    for message in conversations:
        match message:
            case {"from": str(speaker), "value": str(text)} if speaker in _SPEAKERS:
                said.append((_SPEAKERS[speaker], text))
            case _:
                raise DataError(
                    f"not a message of a conversation: {str(message)[:80]}",
                    hint=f'write {{"from": ..., "value": ...}}, from one of {", ".join(_SPEAKERS)}',
                )
    return said


def _take(content: Any, key: str, kind: type) -> Any:
    if not isinstance(content, dict) or not isinstance(content.get(key), kind):
        raise DataError(f"'{key}' is missing or not a {kind.__name__} in {str(content)[:80]}")
    return content[key]


def _numbers(values: list[Any]) -> NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):
            numbers = np.asarray(values, dtype=np.float64).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise DataError("values are not numbers in rows of equal lengths") from error
    except OverflowError as error:
        raise DataError("values hold a number too large for float32", hint="write them in larger units") from error
    if np.isinf(numbers).any():
        raise DataError("values hold a number too large for float32", hint="write them in larger units")
    return numbers


def _target(part: Mapping[str, Any]) -> Any:
    match [name for name in ("value", "values") if part.get(name) is not None]:
        case ["value"]:
            return part["value"]
        case ["values"]:
            return _numbers(_take(part, "values", list))
    raise DataError(f"a target has not one of value and values in {str(part)[:80]}", hint="give one of them")
