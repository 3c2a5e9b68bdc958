"""OpenAI's messages to turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Part, Role, Text, Turn
from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.media import MediaReader
from modrwkv_core.serving.schemas.chat import (
    AssistantMessage,
    AudioPart,
    ContentPart,
    ImagePart,
    Message,
    SeriesPart,
    SystemMessage,
    TextPart,
    ToolMessage,
)
from modrwkv_core.serving.settings import Limits
from modrwkv_core.serving.tools import called_text, returned_text

__all__ = ["MessageReader"]


@dataclass(frozen=True, slots=True)
class MessageReader:
    """Reads the messages of requests.

    Attributes:
        media: Reads their media.
        limits: Of messages and media.
    """

    media: MediaReader
    limits: Limits

    async def turns(self, session: Session, messages: Sequence[Message], instructions: str = "") -> tuple[Turn, ...]:
        """Return the turns that ``messages`` are; messages of the same role in succession are one.

        Args:
            session: Of the model that will read them.
            messages: In order.
            instructions: Stand after what the system says.

        Raises:
            APIError: There are too many messages or media.
            DataError: A medium cannot be read.
        """
        self._check(messages)
        turns: list[tuple[Role, list[Part]]] = [("system", [Text(instructions)])] if instructions else []
        for message in messages:
            role, parts = await self._turn(session, message)
            if turns and turns[-1][0] == role:
                last = turns[-1][1]
                # Instructions come last, so that they stand next to the conversation.
                last[:] = [*parts, Text("\n\n"), *last] if role == "system" else [*last, Text("\n\n"), *parts]
            else:
                turns.append((role, parts))
        return tuple(Turn(role, tuple(parts)) for role, parts in turns)

    def _check(self, messages: Sequence[Message]) -> None:
        if len(messages) > self.limits.messages:
            raise APIError(400, f"more than {self.limits.messages:,} messages", param="messages")
        media = sum(
            not isinstance(part, TextPart)
            for message in messages
            if isinstance(message.content, list)
            for part in message.content
        )
        if media > self.limits.media:
            raise APIError(400, f"{media} media, the limit is {self.limits.media}", param="messages")

    async def _turn(self, session: Session, message: Message) -> tuple[Role, list[Part]]:
        match message:
            case SystemMessage():
                return "system", await self._parts(session, message.content)
            case AssistantMessage():
                parts = await self._parts(session, message.content or "")
                return "assistant", [*parts, *(Text(called_text(call)) for call in message.tool_calls or ())]
            case ToolMessage():
                parts = await self._parts(session, message.content)
                return "user", [Text(returned_text("".join(part.text for part in parts if isinstance(part, Text))))]
        return "user", await self._parts(session, message.content)

    async def _parts(self, session: Session, content: str | Sequence[ContentPart]) -> list[Part]:
        if isinstance(content, str):
            return [Text(content)]
        return [await self._part(session, part) for part in content]

    async def _part(self, session: Session, part: ContentPart) -> Text | Media:
        match part:
            case ImagePart():
                return await self.media.image(session, part.image_url.url)
            case AudioPart():
                return await self.media.audio(session, part.input_audio.data)
            case SeriesPart():
                return await self.media.series(session, part.input_series)
        return Text(part.text)
