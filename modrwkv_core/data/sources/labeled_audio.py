"""Recordings with a text each, listed in a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import LabeledAudioConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.line_index import line_spans
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source

__all__ = ["LabeledAudioSource"]


class LabeledAudioSource(Source[LabeledAudioConfig]):
    """Asks about each recording of a list with the same words, and answers with its text."""

    def __init__(self, config: LabeledAudioConfig) -> None:
        super().__init__(config)
        self._rows = _TsvRows(config.path) if config.path.suffix == ".tsv" else JsonRecords(config.path)
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
        if len(fields) != len(self._columns):
            raise DataError(f"{self.key(index)}: {len(fields)} fields below a header of {len(self._columns)}")
        return dict(zip(self._columns, fields, strict=True))


def _take(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise DataError(
            f"has no text '{column}', only: {', '.join(row)}", hint="name the right columns in the manifest"
        )
    return value
