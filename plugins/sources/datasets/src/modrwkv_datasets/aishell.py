"""Aishell-1: 178 hours of read Mandarin.

Source: openslr.org/33 (Apache-2.0).
"""

from __future__ import annotations

from pathlib import Path

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_datasets.config import AishellConfig
from modrwkv_datasets.transcripts import Utterances, read_lines

__all__ = ["AishellSource"]

TRANSCRIPT = "transcript/aishell_transcript_v0.8.txt"


class AishellSource(Source[AishellConfig]):
    """Each record is one utterance and its transcript: ``wav/{split}/{speaker}/BAC009{speaker}W{number}.wav``.

    The one transcript file has all parts, and a few recordings have no line in it: they are left out, as in the recipes
    of Kaldi, ESPnet and WeNet.

    Raises:
        DataError: The transcript or the recordings are missing, or the transcript is damaged.
    """

    def __init__(self, config: AishellConfig) -> None:
        super().__init__(config)
        transcript = config.path / TRANSCRIPT
        self._folder = config.path / "wav" / config.split
        self._utterances = Utterances([transcript])
        recorded = {path.stem for path in self._folder.glob("*/*.wav")}
        for begin, line, name in read_lines(transcript):
            if name in recorded:
                self._utterances.append(0, begin, line)
        if not len(self._utterances):
            raise DataError(
                f"{self._folder} holds no recordings that {transcript} names",
                hint="unpack the archives of the speakers in wav, too",
            )

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, index: int) -> Record:
        key, _, name, words = self._utterances[index]
        recording = self._recording(name)
        if not recording.is_file():
            raise DataError(f"{key}: {recording} does not exist", hint="unpack the archives of the speakers anew")
        question: list[Part] = [Media("audio", recording)]
        if self.config.prompt:
            question.append(Text(self.config.prompt))
        answer = Text(words if self.config.spaces else "".join(words.split()))
        return Record(key, (Turn("user", tuple(question)), Turn("assistant", (answer,))))

    def _recording(self, name: str) -> Path:
        speaker = name.removeprefix("BAC009").partition("W")[0]
        return self._folder / speaker / f"{name}.wav"
