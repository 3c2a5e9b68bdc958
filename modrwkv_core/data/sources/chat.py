"""Conversations in JSON Lines with OpenAI-style content parts.

A line is ``{"messages": [{"role": ..., "content": ...}, ...]}``; content is a text or a list of parts:

- ``{"type": "text", "text": ...}``
- ``{"type": "image_url", "image_url": {"url": ...}}``: a path, a ``file://`` or a ``data:`` URL
- ``{"type": "input_audio", "input_audio": {"data": base64, "format": ...}}``
- ``{"type": MODALITY, ...}`` with one of ``path``, ``data`` (base64 of a file) and ``values`` (numbers)
- ``{"type": "target", "head": NAME, ...}`` with ``values`` (numbers) or ``value`` (whatever the head predicts: a label,
  a number): what a query head is supervised with; without ``head``, the one that answers queries about the media before

Beside ``messages``, ``images``, ``audios`` and ``videos`` may list files, as LLaMA-Factory and ms-swift write them:
``<image>`` in a question then gives the place of the next one. Without such lists, text is text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.placeholders import check_placeholders, listed_media, place_media
from modrwkv_core.data.sources.config import ChatConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Role, Target, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_core.readers.files import decode_base64

__all__ = ["ChatSource"]

_ROLES: Final = get_args(Role)


class ChatSource(Source[ChatConfig]):
    """Reads conversations with OpenAI-style content parts; keys that the format does not name are passed over."""

    def __init__(self, config: ChatConfig) -> None:
        super().__init__(config)
        self._records = JsonRecords(config.path)
        self._media = MediaStore(config.media or config.path.parent)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        content = self._records[index]
        key = self._records.key(index)
        with error_context(key):
            messages = content.get("messages")
            if not isinstance(messages, list):
                raise DataError(
                    "has no list 'messages'", hint='a line is {"messages": [{"role": ..., "content": ...}]}'
                )
            turns = tuple(self._turn(message) for message in messages)
            media = listed_media(content, self._media.find)
            return Record(key, turns if media is None else _with_listed(turns, media))

    def _turn(self, message: Any) -> Turn:
        role = _take(message, "role", str)
        if role not in _ROLES:
            raise DataError(f"unknown role '{role}'", hint=f"roles are {', '.join(_ROLES)}")
        content = message.get("content")
        if isinstance(content, str):
            return Turn(role, (Text(content),))
        if not isinstance(content, list):
            raise DataError(f"the content of the {role}'s message is neither a text nor a list of parts")
        return Turn(role, tuple(self._part(part) for part in content))

    def _part(self, part: Any) -> Part:
        match _take(part, "type", str):
            case "text":
                return Text(_take(part, "text", str))
            case "image_url":
                return Media("image", self._url(_take(_take(part, "image_url", dict), "url", str)))
            case "input_audio":
                return Media("audio", decode_base64(_take(_take(part, "input_audio", dict), "data", str)))
            case "target":
                return Target(_take(part, "head", str) if "head" in part else None, _target(part))
            case modality:
                return Media(modality, self._medium(part, modality))

    def _medium(self, part: Mapping[str, Any], modality: str) -> Any:
        given = [name for name in ("path", "data", "values") if name in part]
        match given:
            case ["path"]:
                return self._media.find(_take(part, "path", str))
            case ["data"]:
                return decode_base64(_take(part, "data", str))
            case ["values"]:
                return _numbers(_take(part, "values", list))
        raise DataError(
            f"a part of type '{modality}' has {' and '.join(given) or 'nothing'} to read",
            hint="give one of path, data (base64) and values (numbers)",
        )

    def _url(self, url: str) -> Path | bytes:
        if url.startswith("data:"):
            head, _, body = url.partition(",")
            return decode_base64(unquote(body)) if head.endswith(";base64") else unquote_to_bytes(body)
        if url.startswith("file://"):
            return Path(unquote(urlsplit(url).path))
        if "://" in url:
            raise DataError(
                f"{url} is not on this machine", hint="download it and give its path: nothing is fetched here"
            )
        return self._media.find(url)


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
