"""``/v1/sessions``: conversations whose past is a state on the server, so that undo and fork cost nothing."""

from __future__ import annotations

from fastapi import APIRouter

from modrwkv_core.inference.conversation import Conversation
from modrwkv_core.serving.context import Context, make_router
from modrwkv_core.serving.schemas.sessions import DeletedSession, SessionBody, SessionRequest

__all__ = ["sessions_router"]


def sessions_router(context: Context) -> APIRouter:
    """Return the routes; they run on threads, for they may read and write files."""
    router = make_router()

    @router.post("/v1/sessions", status_code=201)
    def create(body: SessionRequest) -> SessionBody:
        """Begin a conversation."""
        model = context.models[body.model]
        return _body(model.name, model.sessions.create())

    @router.get("/v1/sessions/{session}")
    def read(session: str) -> SessionBody:
        """Describe a conversation."""
        model = context.models.of_session(session)
        return _body(model.name, model.sessions.get(session))

    @router.post("/v1/sessions/{session}/fork", status_code=201)
    def fork(session: str) -> SessionBody:
        """Begin another conversation with the same past."""
        model = context.models.of_session(session)
        return _body(model.name, model.sessions.fork(session))

    @router.post("/v1/sessions/{session}/undo")
    def undo(session: str) -> SessionBody:
        """Take the last question and its answer back."""
        model = context.models.of_session(session)
        return _body(model.name, model.sessions.undo(session))

    @router.post("/v1/sessions/{session}/save")
    def save(session: str) -> SessionBody:
        """Keep a conversation on disk, so that it survives a restart."""
        model = context.models.of_session(session)
        return _body(model.name, model.sessions.save(session))

    @router.delete("/v1/sessions/{session}")
    def delete(session: str) -> DeletedSession:
        """Forget a conversation."""
        context.models.of_session(session).sessions.delete(session)
        return DeletedSession(id=session)

    return router


def _body(model: str, conversation: Conversation) -> SessionBody:
    return SessionBody(
        id=conversation.name,
        model=model,
        answers=conversation.turns,
        tokens=conversation.tokens_read,
        saved=conversation.is_saved,
    )
