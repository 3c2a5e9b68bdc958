"""Samples in WebDataset shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import WebDatasetConfig
from modrwkv_core.data.sources.tar_index import Member, TarSamples, expand_shards, split_name
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.conversations import chat_turns, llava_turns
from modrwkv_core.interfaces.record import Media, Part, Record, Text, Turn
from modrwkv_core.interfaces.source import Source

__all__ = ["WebDatasetSource"]


class WebDatasetSource(Source[WebDatasetConfig]):
    """Reads samples in any order, straight from the shards.

    Raises:
        DataError: See :class:`~modrwkv_core.data.sources.tar_index.TarSamples`.
    """

    def __init__(self, config: WebDatasetConfig) -> None:
        super().__init__(config)
        self._samples = TarSamples(expand_shards(config.path))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Record:
        shard, members = self._samples[index]
        sample, files = _by_ending(members)
        key = f"{shard}: {sample}"
        with error_context(key):
            media = [
                Media(modality, content)
                for ending, content in files.items()
                if (modality := self.config.modalities.get(ending.rpartition(".")[2])) is not None
            ]
            if self.config.conversation is None:
                return Record(key, self._question(media, _text(files, self.config.answer)))
            content = _object(files, self.config.conversation)
            if "conversations" in content:
                turns = llava_turns(content.pop("conversations"), media)
            else:
                turns = chat_turns(content.pop("messages", None), _find_no_file, media)
            return Record(key, turns, content)

    def _question(self, media: Sequence[Media], answer: str) -> tuple[Turn, ...]:
        question: list[Part] = [*media]
        if self.config.prompt:
            question.append(Text(self.config.prompt))
        if not question:
            raise DataError("holds no medium", hint="name the endings of media in `modalities`")
        return (Turn("user", tuple(question)), Turn("assistant", (Text(answer),)))


def _by_ending(members: Sequence[Member]) -> tuple[str, dict[str, bytes]]:
    """Return the key of a sample, and its files by their endings."""
    files: dict[str, bytes] = {}
    sample = ""
    for name, content in members:
        split = split_name(name)
        assert split is not None, "other files are no members of samples"
        sample, ending = split
        if ending in files:
            raise DataError(f"{sample} has two files {ending}", hint="give each file of a sample its own ending")
        files[ending] = content
    return sample, files


def _text(files: dict[str, bytes], ending: str) -> str:
    if ending not in files:
        raise DataError(
            f"has no file {ending}, only: {', '.join(files)}", hint="name the right endings in the manifest"
        )
    try:
        return files[ending].decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"its file {ending} is not UTF-8 at byte {error.start}") from error


def _object(files: dict[str, bytes], ending: str) -> dict[str, Any]:
    text = _text(files, ending)
    try:
        content = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise DataError(f"its file {ending} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"its file {ending} should hold a JSON object, not {type(content).__name__}")
    return content


def _find_no_file(name: str) -> NoReturn:
    raise DataError(
        f"names the file {name}, but media are files of the sample", hint='write {"type": "image"} for each of them'
    )
