"""Recordings with a text each, listed in a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import LabeledAudioConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.line_index import line_spans
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_core.readers.files import read_media

__all__ = ["LabeledAudioSource"]


class LabeledAudioSource(Source[LabeledAudioConfig]):
    """Asks about each recording of a list with the same words, and answers with its text."""

    def __init__(self, config: LabeledAudioConfig) -> None:
        super().__init__(config)
        readers: dict[str, Callable[[Path], _Rows]] = {".tsv": _TsvRows, ".csv": _CsvRows}
        self._rows: _Rows = readers.get(config.path.suffix.lower(), JsonRecords)(config.path)
        self._media = MediaStore(config.media or config.path.parent)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row = self._rows[index]
        key = self._rows.key(index)
        with error_context(key):
            question: list[Part] = [Media("audio", self._media.find(_take(row, self.config.audio_column)))]
            if self.config.prompt:
                question.append(Text(self.config.prompt))
            answer = Text(_take(row, self.config.text_column))
            return Record(key, (Turn("user", tuple(question)), Turn("assistant", (answer,))))


class _Rows(Protocol):
    """Rows with the names of their fields."""

    def __len__(self) -> int: ...

    def key(self, index: int) -> str: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class _CsvRows:
    """Rows of comma-separated values below a header, as in the ``metadata.csv`` of Hugging Face's audio folders."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            reader = csv.reader(io.StringIO(read_media(path)[0].decode("utf-8-sig")), strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path} is not a CSV file: {error}", hint="save it as comma-separated UTF-8 text"
            ) from error
        self._columns = rows[0][1] if rows else []
        self._rows = rows[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> str:
        return f"{self._path}:{self._rows[index][0]}"

    def __getitem__(self, index: int) -> dict[str, str]:
        return _named(self._columns, self._rows[index][1], self.key(index))


class _TsvRows:
    """Rows of tab-separated values below a header, without quoting."""

    def __init__(self, path: Path) -> None:
        self._lines = line_spans(path)
        self._columns = self._lines[0].split("\t")

    def __len__(self) -> int:
        return len(self._lines) - 1

    def key(self, index: int) -> str:
        return self._lines.key(index + 1)

    def __getitem__(self, index: int) -> dict[str, str]:
        fields = self._lines[index + 1].split("\t")
        return _named(self._columns, fields, self.key(index))


def _named(columns: Sequence[str], fields: Sequence[str], key: str) -> dict[str, str]:
    if len(fields) != len(columns):
        raise DataError(f"{key}: {len(fields)} fields below a header of {len(columns)}")
    return dict(zip(columns, fields, strict=True))


def _take(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise DataError(
            f"has no text '{column}', only: {', '.join(row)}", hint="name the right columns in the manifest"
        )
    return value
