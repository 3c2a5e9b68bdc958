"""Plain texts: the lines, the articles or the whole of a file, or the objects of JSON Lines."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import Final, Protocol

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import TextConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.line_index import LineIndex, line_spans
from modrwkv_core.data.sources.listing import take_text
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.interfaces.source import Source

__all__ = ["TextSource"]

_TITLE: Final = re.compile(rb"^ ?= [^=\n]+ = ?\r?$", re.MULTILINE)
"""The line that begins an article of WikiText; its sections have two or more signs."""


class TextSource(Source[TextConfig]):
    """Reads texts, each as the assistant's alone: to learn, and for the task ``perplexity``."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config)
        is_json = config.path.suffix.lower() in (".jsonl", ".json")
        self._texts: _Texts = _JsonTexts(config.path, config.text_key) if is_json else _pieces(config)

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Record:
        return Record(self._texts.key(index), (Turn("assistant", (Text(self._texts[index]),)),), plain=True)


class _Texts(Protocol):
    """Texts and their names."""

    def __len__(self) -> int: ...

    def key(self, index: int) -> str: ...

    def __getitem__(self, index: int, /) -> str: ...


class _JsonTexts:
    """The texts of the objects of a JSON file."""

    def __init__(self, path: Path, text_key: str) -> None:
        self._records = JsonRecords(path)
        self._text_key = text_key

    def __len__(self) -> int:
        return len(self._records)

    def key(self, index: int) -> str:
        return self._records.key(index)

    def __getitem__(self, index: int) -> str:
        with error_context(self.key(index)):
            return take_text(self._records[index], self._text_key)


def _pieces(config: TextConfig) -> LineIndex:
    """Find the texts of a file of plain text."""
    lines = line_spans(config.path)  # refuses what is missing or blank
    if config.split == "lines":
        return lines
    content = config.path.read_bytes()
    starts = [0] if config.split == "file" else _article_starts(config.path, content)
    pieces = LineIndex(config.path)
    line = 1 + content.count(b"\n", 0, starts[0])
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        pieces.append(start, stop, line)
        line += content.count(b"\n", start, stop)
    return pieces


def _article_starts(path: Path, content: bytes) -> list[int]:
    """Find where articles begin; text before the first title is an article of its own."""
    starts = [title.start() for title in _TITLE.finditer(content)]
    if not starts:
        raise DataError(
            f"{path} has no articles: no line is a title such as ` = Title = `",
            hint="choose `split: lines` or `split: file`",
        )
    begin = len(BOM_UTF8) if content.startswith(BOM_UTF8) else 0
    return [begin, *starts] if content[begin : starts[0]].strip() else starts
