"""Random access to the pieces of a text file of any size."""

from __future__ import annotations

from array import array
from codecs import BOM_UTF8
from pathlib import Path

from modrwkv_core.errors import DataError

__all__ = ["LineIndex", "line_spans"]


class LineIndex:
    """Pieces of a UTF-8 file, read when they are asked for; only their places stay in memory. Picklable.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begins = array("Q")
        self._ends = array("Q")
        self._lines = array("Q")

    def append(self, begin: int, end: int, line: int) -> None:
        """Add the piece of bytes ``[begin, end)``, which begins in ``line`` (counted from 1)."""
        self._begins.append(begin)
        self._ends.append(end)
        self._lines.append(line)

    def __len__(self) -> int:
        return len(self._begins)

    def key(self, index: int) -> str:
        """Name a piece as ``file:line``."""
        return f"{self.path}:{self._lines[index]}"

    def __getitem__(self, index: int) -> str:
        with self.path.open("rb") as content:
            content.seek(self._begins[index])
            piece = content.read(self._ends[index] - self._begins[index])
        try:
            return piece.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.key(index)}: not UTF-8 at byte {error.start} of the line") from error


def line_spans(path: Path) -> LineIndex:
    """Find the lines of ``path`` that are not blank.

    Raises:
        DataError: The file is missing or all blank.
    """
    spans = LineIndex(path)
    offset = 0
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a regular file", hint="save what it holds in a file")
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                mark = len(BOM_UTF8) if number == 1 and line.startswith(BOM_UTF8) else 0
                if line[mark:].strip():
                    spans.append(offset + mark, offset + len(line.rstrip(b"\r\n")), number)
                offset += len(line)
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", hint="relative paths are resolved against `data_root`"
        ) from error
    if not len(spans):
        raise DataError(f"{path} is empty")
    return spans
