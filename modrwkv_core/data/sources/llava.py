"""LLaVA's conversations as they are published (Visual Instruction Tuning, arXiv 2304.08485, and its 665K mixture)."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.placeholders import count_placeholders, place_media
from modrwkv_core.data.sources.config import LlavaConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Role, Turn
from modrwkv_core.interfaces.source import Source

__all__ = ["LlavaSource"]

_ROLES: Final[dict[str, Role]] = {"system": "system", "human": "user", "gpt": "assistant"}


class LlavaSource(Source[LlavaConfig]):
    """Reads ``{"image": ..., "conversations": [{"from": "human" | "gpt", "value": ...}, ...]}``.

    ``image`` is a path or a list of paths, and may be absent. ``<image>`` in a text gives the place of the next
    image; without any placeholder, images stand before the first text. The published mixture holds conversations that
    begin in the middle, with the assistant; as in LLaVA's own loader, that first answer is left out.
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
            if not said:
                raise DataError("holds no question")
            texts = [text for _, text in said]
            pictures = [Media("image", self._media.find(name)) for name in _names(content.get("image") or [])]
            if not pictures and count_placeholders(texts, "image"):
                raise DataError("the text names <image>, but the record has no 'image'")
            placed = place_media(texts, pictures)
            return Record(key, tuple(Turn(role, parts) for (role, _), parts in zip(said, placed, strict=True)))


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


def _names(image: Any) -> list[str]:
    names = [image] if isinstance(image, str) else image
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"'image' should be a path or a list of paths, not {str(image)[:80]}")
    return names
