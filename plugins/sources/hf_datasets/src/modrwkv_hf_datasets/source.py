"""Rows of a dataset to conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.conversations import chat_turns, llava_turns
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_hf_datasets.config import HfDatasetConfig
from modrwkv_hf_datasets.rows import Rows, open_rows

__all__ = ["HfDatasetSource"]

_TYPES: Final = {"Audio": "audio", "Image": "image", "Video": "video"}


class HfDatasetSource(Source[HfDatasetConfig]):
    """Makes a conversation of each row: of a column of messages, or of media, a question and an answer.

    Raises:
        DataError: The dataset is missing or damaged, or has no such split or columns.
    """

    def __init__(self, config: HfDatasetConfig) -> None:
        super().__init__(config)
        self._rows: Rows = open_rows(config)
        features = self._rows.features
        self._modalities = config.modalities or {
            name: _TYPES[type(kind).__name__] for name, kind in features.items() if type(kind).__name__ in _TYPES
        }
        named = [name for name in (config.conversation, config.question, config.answer) if name is not None]
        if absent := [name for name in (*named, *self._modalities) if name not in features]:
            raise DataError(
                f"{config.path or config.hub or config.url} has no column {', '.join(absent)}",
                hint=f"it has: {', '.join(features)}",
            )
        folder = config.path if config.path is None or config.path.is_dir() else config.path.parent
        self._media = config.media or folder

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        key = self._rows.key(index)
        row = self._rows[index]
        try:
            return Record(key, self._turns(row))
        except DataError as error:
            raise DataError(f"{key}: {error.message}", hint=error.hint) from error

    def _turns(self, row: Mapping[str, Any]) -> tuple[Turn, ...]:
        media = [
            Media(modality, medium)
            for column, modality in self._modalities.items()
            for medium in self._found(column, row[column])
        ]
        if self.config.conversation is not None:
            messages = row[self.config.conversation]
            if isinstance(messages, list) and any(isinstance(each, dict) and "from" in each for each in messages):
                return llava_turns(messages, media)
            return chat_turns(messages, self._file, media if self._modalities else None)
        question: list[Part] = [*media]
        asked = _text(row, self.config.question) if self.config.question is not None else self.config.prompt
        if asked:
            question.append(Text(asked))
        if not question:
            raise DataError("has neither media nor a question", hint="name columns in `modalities` or `question`")
        assert self.config.answer is not None, "the configuration has a conversation or an answer"
        return (Turn("user", tuple(question)), Turn("assistant", (Text(_text(row, self.config.answer)),)))

    def _found(self, column: str, value: Any) -> Iterator[Any]:
        """Yield the media of a field: none, one, or several in a list."""
        match value:
            case None:
                return
            case bytes():
                yield value
            case str():
                yield self._file(value)
            case {"bytes": bytes(content)}:
                yield content
            case {"path": str(path)}:
                yield self._file(path)
            case [float() | int(), *_]:
                yield np.asarray(value)
            case [list(), *_]:
                yield _array(column, value)
            case list():
                for each in value:
                    yield from self._found(column, each)
            case _:
                raise DataError(
                    f"column {column!r} holds {str(value)[:60]}, not a medium",
                    hint="media are files, paths, arrays, or lists of these",
                )

    def _file(self, path: str) -> Path:
        if self._media is None and not Path(path).is_absolute():
            raise DataError(f"names the file {path}", hint="say in `media` in which folder it lies")
        return Path(path) if self._media is None else self._media / path


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise DataError(f"column {column!r} holds {str(value)[:60]}, not a text")
    return value


def _array(column: str, value: list[Any]) -> Any:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"column {column!r} holds lists of unequal lengths, not an array") from error
