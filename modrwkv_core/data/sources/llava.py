"""LLaVA's conversations as they are published (Visual Instruction Tuning, arXiv 2304.08485, and its 665K mixture)."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.placeholders import check_placeholders, listed_media, place_media
from modrwkv_core.data.sources.config import LlavaConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Record, Role, Text, Turn
from modrwkv_core.interfaces.source import Source

__all__ = ["LlavaSource"]

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


class LlavaSource(Source[LlavaConfig]):
    """Reads ``{"image": ..., "conversations": [{"from": "human" | "gpt", "value": ...}, ...]}``.

    ``image`` is a path or a list of paths, and may be absent; ``audio`` and ``video`` are read alike, and so are their
    plurals and the speakers ``user`` and ``assistant``. ``<image>`` in a question gives the place of the next image;
    without any placeholder, images stand before the first question. Answers are text, whatever they hold. The published
    mixture holds conversations that begin in the middle, with the assistant; as in LLaVA's own loader, that first
    answer is left out.
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
            said = _said(content.get("conversations"))
            if said and said[0][0] == "assistant":
                del said[0]
            if not any(role == "user" for role, _ in said):
                raise DataError("holds no question")
            media = listed_media(content, self._media.find) or []
            asked = [text for role, text in said if role == "user"]
            check_placeholders(asked, media)
            placed = iter(place_media(asked, media))
            parts = [next(placed) if role == "user" else (Text(text),) for role, text in said]
            return Record(key, tuple(Turn(role, turn) for (role, _), turn in zip(said, parts, strict=True)))


def _said(conversations: Any) -> list[tuple[Role, str]]:
    if not isinstance(conversations, list):
        raise DataError("has no list 'conversations'")
    said = []
    for message in conversations:
        match message:
            case {"from": str(speaker), "value": str(text)} if speaker in _ROLES:
                said.append((_ROLES[speaker], text))
            case _:
                raise DataError(
                    f"not a message of a conversation: {str(message)[:80]}",
                    hint=f'write {{"from": ..., "value": ...}}, from one of {", ".join(_ROLES)}',
                )
    return said
