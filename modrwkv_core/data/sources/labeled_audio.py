"""Recordings with a text each, listed in a table."""

from __future__ import annotations

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import LabeledAudioConfig
from modrwkv_core.data.sources.listing import Listing, take_text
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source

__all__ = ["LabeledAudioSource"]


class LabeledAudioSource(Source[LabeledAudioConfig]):
    """Asks about each recording of a list with the same words, and answers with its text."""

    def __init__(self, config: LabeledAudioConfig) -> None:
        super().__init__(config)
        self._rows = Listing(config.path, config.where, config.rows)
        self._media = MediaStore(config.media or config.path.parent)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        key = self._rows.key(index)
        row = self._rows[index]
        with error_context(key):
            question: list[Part] = [Media("audio", self._media.find(take_text(row, self.config.audio_column)))]
            if self.config.prompt:
                question.append(Text(self.config.prompt))
            answer = Text(take_text(row, self.config.text_column))
            return Record(key, (Turn("user", tuple(question)), Turn("assistant", (answer,))))
