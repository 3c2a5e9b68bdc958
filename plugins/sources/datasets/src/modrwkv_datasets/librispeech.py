"""LibriSpeech: 1,000 hours of read English books.

Source: openslr.org/12 (CC BY 4.0, Vassil Panayotov et al.).
"""

from __future__ import annotations

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_datasets.config import LibriSpeechConfig
from modrwkv_datasets.transcripts import Utterances, read_lines

__all__ = ["LibriSpeechSource"]


class LibriSpeechSource(Source[LibriSpeechConfig]):
    """Each record is one utterance and its transcript: ``{split}/{reader}/{chapter}/{reader}-{chapter}-{number}.flac``.

    Raises:
        DataError: A split is missing, holds no transcripts, or one of them is damaged.
    """

    def __init__(self, config: LibriSpeechConfig) -> None:
        super().__init__(config)
        files = []
        for split in dict.fromkeys(config.splits):
            found = sorted((config.path / split).glob("*/*/*.trans.txt"))
            if not found:
                raise DataError(
                    f"{config.path / split} holds no transcripts", hint=f"unpack {split}.tar.gz, or correct data_root"
                )
            files += found
        self._utterances = Utterances(files)
        for number, path in enumerate(files):
            for begin, line, _ in read_lines(path):
                self._utterances.append(number, begin, line)

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> Record:
        key, path, name, words = self._utterances[index]
        recording = path.with_name(f"{name}.flac")
        if not recording.is_file():
            raise DataError(f"{key}: {recording} does not exist", hint="unpack the archive anew")
        question: list[Part] = [Media("audio", recording)]
        if self.config.prompt:
            question.append(Text(self.config.prompt))
        answer = Text(words.lower() if self.config.lower else words)
        return Record(key, (Turn("user", tuple(question)), Turn("assistant", (answer,))))
