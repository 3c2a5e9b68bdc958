"""Feature arrays with a text each, listed in a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import LabeledFeaturesConfig
from modrwkv_core.data.sources.listing import Listing, take_text
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_core.readers.arrays import read_array

__all__ = ["LabeledFeaturesSource"]


@lru_cache(maxsize=4)
def _joined(path: Path) -> NDArray[Any]:
    """Read a joined array once; forked loader workers share it."""
    array = read_array(path)
    if array.ndim != 2:
        raise DataError(f"{path} has the shape {list(array.shape)}", hint="join the frames to one array [frames, dims]")
    return array


class LabeledFeaturesSource(Source[LabeledFeaturesConfig]):
    """Asks about each feature array of a list with the same words, and answers with its text.

    Raises:
        DataError: The list or the joined array cannot be read.
    """

    def __init__(self, config: LabeledFeaturesConfig) -> None:
        super().__init__(config)
        self._rows = Listing(config.path, config.where, config.rows)
        self._media = MediaStore(config.media or config.path.parent)
        if config.joined is not None:
            _joined(config.joined)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        key = self._rows.key(index)
        row = self._rows[index]
        with error_context(key):
            question: list[Part] = [Media("features", self._features(row))]
            if self.config.prompt:
                question.append(Text(self.config.prompt))
            answer = Text(take_text(row, self.config.text_column))
            return Record(key, (Turn("user", tuple(question)), Turn("assistant", (answer,))))

    def _features(self, row: Mapping[str, Any]) -> Path | bytes | NDArray[Any]:
        if self.config.joined is None:
            return self._media.find(take_text(row, self.config.features_column))
        start, frames = _number(row, self.config.start_column), _number(row, self.config.frames_column)
        array = _joined(self.config.joined)
        if frames == 0 or start + frames > len(array):
            raise DataError(
                f"frames {start} to {start + frames} are wanted of {self.config.joined}, which has {len(array)}",
                hint="correct the list, or name the array that it belongs to",
            )
        return array[start : start + frames]


def _number(row: Mapping[str, Any], column: str) -> int:
    value = str(row.get(column))
    if not (value.isascii() and value.isdecimal()):
        raise DataError(
            f"has no whole number '{column}', only: {', '.join(f'{name} {row[name]!r}'[:40] for name in row)}",
            hint="name the right columns in the manifest",
        )
    return int(value)
