"""Conversations in JSON Lines with OpenAI-style content parts.

A line is ``{"messages": [{"role": ..., "content": ...}, ...]}``; content is a text or a list of parts:

- ``{"type": "text", "text": ...}``
- ``{"type": "image_url", "image_url": {"url": ...}}``: a path, a ``file://`` or a ``data:`` URL
- ``{"type": "input_audio", "input_audio": {"data": base64, "format": ...}}``
- ``{"type": MODALITY, ...}`` with one of ``path``, ``data`` (base64 of a file) and ``values`` (numbers); without them,
  it stands for the next of the media that are listed beside the messages
- ``{"type": "target", "head": NAME, ...}`` with ``values`` (numbers) or ``value`` (whatever the head predicts: a label,
  a number): what a query head is supervised with; without ``head``, the one that answers queries about the media before

Beside ``messages``, ``images``, ``audios`` and ``videos`` may list files, as LLaMA-Factory and ms-swift write them:
``<image>`` in a question then gives the place of the next one. Without such lists, text is text.

All other keys are the record's annotations: ``answers`` and ``choices``, which evaluation tasks read.
"""

from __future__ import annotations

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.sources.config import ChatConfig
from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.interfaces.conversations import chat_turns
from modrwkv_core.interfaces.placeholders import listed_media
from modrwkv_core.interfaces.record import Record
from modrwkv_core.interfaces.source import Source

__all__ = ["ChatSource"]


class ChatSource(Source[ChatConfig]):
    """Reads conversations with OpenAI-style content parts; keys that the format does not name are annotations."""

    def __init__(self, config: ChatConfig) -> None:
        super().__init__(config)
        self._records = JsonRecords(config.path)
        self._media = MediaStore(config.media or config.path.parent)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        content = self._records[index]
        key = self._records.key(index)
        with error_context(key):
            media = listed_media(content, self._media.find)
            turns = chat_turns(content.get("messages"), self._media.find, media)
            return Record(key, turns, {name: value for name, value in content.items() if name != "messages"})
