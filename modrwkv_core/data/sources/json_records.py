"""Random access to the objects of a JSON file of any size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from modrwkv_core.data.sources.line_index import LineIndex, line_spans
from modrwkv_core.errors import DataError

__all__ = ["JsonRecords"]


class JsonRecords:
    """The objects of a file with one in each line (JSON Lines) or with one list of them. Picklable.

    Objects are parsed when they are asked for, so that memory does not grow with the file.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing or empty, or its list is broken; broken objects show when they are asked for.
    """

    def __init__(self, path: Path) -> None:
        lines = line_spans(path)
        self._spans = _element_spans(path) if lines[0].lstrip().startswith("[") else lines

    def __len__(self) -> int:
        return len(self._spans)

    def key(self, index: int) -> str:
        """Name an object as ``file:line``."""
        return self._spans.key(index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            content = json.loads(self._spans[index])
        except json.JSONDecodeError as error:
            raise DataError(f"{self.key(index)}: not valid JSON: {error.msg} at character {error.pos}") from error
        except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
            raise DataError(f"{self.key(index)}: JSON that cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise DataError(f"{self.key(index)}: should be a JSON object, not {type(content).__name__}")
        return content


def _element_spans(path: Path) -> LineIndex:
    """Find the elements of a JSON list."""
    try:
        spans = _walk(path, path.read_bytes().decode())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg} at column {error.colno}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise DataError(f"{path}: JSON that cannot be read: {error}") from error
    if not len(spans):
        raise DataError(f"{path} holds an empty list")
    return spans


def _walk(path: Path, text: str) -> LineIndex:
    decoder, spans = json.JSONDecoder(), LineIndex(path)
    # Elements are found by character but read by byte, so bytes and lines are counted along the way.
    counted, byte, line = 0, 0, 1
    at = _behind_space(text, text.index("[") + 1)
    while text[at : at + 1] != "]":
        _, end = decoder.raw_decode(text, at)
        byte += len(text[counted:at].encode())
        line += text.count("\n", counted, at)
        size = len(text[at:end].encode())
        spans.append(byte, byte + size, line)
        byte += size
        line += text.count("\n", at, end)
        counted = end
        at = _behind_space(text, end)
        if text[at : at + 1] == ",":
            at = _behind_space(text, at + 1)
        elif text[at : at + 1] != "]":
            raise json.JSONDecodeError("a comma or the end of the list is missing", text, at)
    if (rest := _behind_space(text, at + 1)) < len(text):
        raise json.JSONDecodeError("more follows the end of the list", text, rest)
    return spans


def _behind_space(text: str, at: int) -> int:
    space = re.compile(r"\s*").match(text, at)
    assert space is not None, "the pattern matches nothing too"
    return space.end()
