"""Free Spoken Digit Dataset: 3,000 recordings of the English digits by six speakers.

Source: github.com/Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0, Zohar Jackson et al.).
"""

from __future__ import annotations

import re
from typing import Final

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_datasets.archive import member_names, read_member
from modrwkv_datasets.config import FsddConfig

__all__ = ["FsddSource"]

WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TAKES: Final = 50
TEST_TAKES: Final = range(5)

_RECORDING: Final = re.compile(r"(?:.*/)?(\d)_([a-z]+)_(\d+)\.wav")


class FsddSource(Source[FsddConfig]):
    """Each record is one recording, the question which digit it is, and the digit's word.

    Raises:
        DataError: The archive is missing, damaged, or holds no recordings of the part.
    """

    def __init__(self, config: FsddConfig) -> None:
        super().__init__(config)
        found = [match for name in member_names(config.path) if (match := _RECORDING.fullmatch(name))]
        speakers = {match[2] for match in found}
        if config.test_speaker is not None and config.test_speaker not in speakers:
            raise DataError(
                f"{config.path} holds no recordings of '{config.test_speaker}'",
                hint=f"name one of: {', '.join(sorted(speakers))}",
            )
        left_out = config.test_speaker
        first = TEST_TAKES.stop if left_out is None else 0
        border = TAKES - config.valid_takes
        takes = {
            "test": TEST_TAKES if left_out is None else range(TAKES),
            "train": range(first, border),
            "valid": range(max(border, first), TAKES),
        }[config.part]
        wanted = speakers if left_out is None else {left_out} if config.part == "test" else speakers - {left_out}
        self._members = sorted(match[0] for match in found if int(match[3]) in takes and match[2] in wanted)
        if not self._members:
            raise DataError(f"{config.path} holds no recordings of the part '{config.part}'")

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Record:
        member = self._members[index]
        match = _RECORDING.fullmatch(member)
        assert match is not None, "the constructor let nothing else in"
        question: list[Part] = [Media("audio", read_member(self.config.path, member))]
        if self.config.prompt:
            question.append(Text(self.config.prompt))
        answer = Turn("assistant", (Text(WORDS[int(match[1])]),))
        return Record(f"{self.config.path}:{member}", (Turn("user", tuple(question)), answer))
