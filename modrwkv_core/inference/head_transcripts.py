"""Transcripts by a head that says all at once which words a medium holds, without generating tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Turn

if TYPE_CHECKING:
    from modrwkv_core.inference.session import Session

__all__ = ["HeadTranscript", "head_transcripts"]


@dataclass(frozen=True, slots=True)
class HeadTranscript:
    """The words of a medium.

    Attributes:
        text: The words.
        prompt_tokens: Tokens that were read, with the vectors of all media.
        tokens: Tokens of the text.
    """

    text: str
    prompt_tokens: int
    tokens: int


def head_transcripts(session: Session, conversations: Sequence[Sequence[Turn]], head: str) -> list[HeadTranscript]:
    """Return the words of the last medium of each conversation that a transcript head transcribes.

    Args:
        session: The model.
        conversations: Each holds a medium of the head's modality; they are read together.
        head: Name of the head.

    Raises:
        DataError: A conversation cannot be read, or holds no such medium.
    """
    modality = session.model.transcript_heads()[head].config.modality
    samples = [session.conversations.prompt(turns) for turns in conversations]
    if any(all(placed.modality != modality for placed in sample.media) for sample in samples):
        raise DataError(f"a conversation holds no {modality}", hint=f"the head {head} transcribes nothing else")
    with torch.inference_mode():
        found = iter(session.model.transcribe(pack(samples), head))
    transcripts = []
    for sample in samples:
        heard = [next(found) for placed in sample.media if placed.modality == modality]
        words = [token for token in heard[-1] if token not in session.ends]
        transcripts.append(HeadTranscript(_spoken(session, words), len(sample.ids), len(words)))
    return transcripts


def _spoken(session: Session, ids: Sequence[int]) -> str:
    text = session.answer_text()
    pieces = [piece for token in ids for piece in text.feed(token)]
    return "".join(piece.text for piece in [*pieces, *text.finish()] if piece.channel == "content")
