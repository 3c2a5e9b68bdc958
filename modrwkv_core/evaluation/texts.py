"""What tasks about words take from records."""

from __future__ import annotations

from collections.abc import Sequence

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Record, Text

__all__ = ["last_answer", "texts_of", "words_of"]


def words_of(parts: Sequence[object]) -> str:
    """Return the text of the parts of a turn."""
    return "".join(part.text for part in parts if isinstance(part, Text))


def last_answer(record: Record, task: str) -> str:
    """Return the text of a record's last turn, which is the assistant's.

    Raises:
        DataError: It is not, or has no text; the message begins with the record's key and names the task.
    """
    last = record.turns[-1] if record.turns else None
    answer = words_of(last.parts) if last is not None and last.role == "assistant" else ""
    if not answer:
        raise DataError(
            f"{record.key}: the task needs a record whose last turn is the assistant's and has a text",
            component=f"task/{task}",
        )
    return answer


def texts_of(record: Record, annotation: str, task: str) -> tuple[str, ...]:
    """Return the texts that a record is annotated with; none if it lacks the annotation.

    Raises:
        DataError: It is not a list of texts, or empty; the message begins with the record's key and names the task.
    """
    if annotation not in record.annotations:
        return ()
    texts = record.annotations[annotation]
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise DataError(
            f"{record.key}: {annotation!r} should be a list of texts, not {str(texts)[:80]}", component=f"task/{task}"
        )
    return tuple(texts)
