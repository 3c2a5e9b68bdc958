"""LLaVA's conversations as they are published (Visual Instruction Tuning, arXiv 2304.08485, and its 665K mixture)."""

from __future__ import annotations

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import LlavaConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.interfaces.conversations import llava_turns
from modrwkv_core.interfaces.placeholders import listed_media
from modrwkv_core.interfaces.record import Record
from modrwkv_core.interfaces.source import Source

__all__ = ["LlavaSource"]


class LlavaSource(Source[LlavaConfig]):
    """Reads ``{"image": ..., "conversations": [{"from": "human" | "gpt", "value": ...}, ...]}``.

    ``image`` is a path or a list of paths, and may be absent; ``audio`` and ``video`` are read alike, and so are their
    plurals and the speakers ``user`` and ``assistant``. See
    :func:`~modrwkv_core.interfaces.conversations.llava_turns` for the places of media.
    """

    def __init__(self, config: LlavaConfig) -> None:
        super().__init__(config)
        self._records = JsonRecords(config.path)
        self._media = MediaStore(config.media or config.path.parent)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        content = self._records[index]
        key = self._records.key(index)
        with error_context(key):
            media = listed_media(content, self._media.find) or []
            turns = llava_turns(content.get("conversations"), media)
            return Record(key, turns, {name: value for name, value in content.items() if name != "conversations"})
