"""Transcript files: one utterance a line, its name and then its words. Only their places stay in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from modrwkv_core.errors import DataError

__all__ = ["Utterances", "read_lines"]


class Utterances:
    """Lines of transcript files, read again when they are asked for. Picklable.

    Args:
        files: The files.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._file = array("L")
        self._begin = array("Q")
        self._line = array("L")

    def append(self, file: int, begin: int, line: int) -> None:
        """Add the line that begins at a byte of a file; lines are counted from 1."""
        self._file.append(file)
        self._begin.append(begin)
        self._line.append(line)

    def __len__(self) -> int:
        return len(self._begin)

    def __getitem__(self, index: int) -> tuple[str, Path, str, str]:
        """Return ``file:line``, the file, the utterance's name and its words."""
        path = self._files[self._file[index]]
        key = f"{path}:{self._line[index]}"
        try:
            with path.open("rb") as file:
                file.seek(self._begin[index])
                text = file.readline().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{key}: cannot be read: {error}", hint="unpack the archive anew") from error
        name, *words = text.split(maxsplit=1)
        return key, path, name, "".join(words).strip()


def read_lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yield byte, number from 1, and name of each line that is not blank.

    Raises:
        DataError: The file is missing or not UTF-8, or a line has a name without words.
    """
    begin = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                fields = line.decode().split(maxsplit=1)
                if len(fields) == 1:
                    raise DataError(f"{path}:{number}: {fields[0]} has no words", hint="unpack the archive anew")
                if fields:
                    yield begin, number, fields[0]
                begin += len(line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="is data_root the right folder?") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}", hint="unpack the archive anew") from error
