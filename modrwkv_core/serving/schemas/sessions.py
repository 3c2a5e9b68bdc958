"""Bodies of ``/v1/sessions``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modrwkv_core.serving.schemas.common import Schema

__all__ = ["SessionBody", "SessionRequest"]


class SessionRequest(Schema):
    """A conversation to begin."""

    model: str


class SessionBody(BaseModel):
    """A conversation whose past the server keeps.

    Attributes:
        id: Nobody else can guess it; who knows it, can go on with the conversation.
        answers: Number of answers in its past.
        tokens: Number of tokens that were read and written.
        saved: Whether it survives a restart.
    """

    id: str
    object: Literal["session"] = "session"
    model: str
    answers: int
    tokens: int
    saved: bool


class DeletedSession(BaseModel):
    """That a conversation is gone."""

    id: str
    object: Literal["session.deleted"] = "session.deleted"
    deleted: Literal[True] = True
