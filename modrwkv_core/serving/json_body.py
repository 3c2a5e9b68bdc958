"""JSON of clients: refused where it is nested too deeply or holds what is no text, which would fail further on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

__all__ = ["JSONRoute", "parse_json"]


def parse_json(text: str | bytes) -> Any:
    """Return what ``text`` says.

    Raises:
        ValueError: It is not JSON, it is nested deeper than 200 levels, or a string of it is not Unicode: a surrogate
            without its other half.
    """
    return from_json(text, allow_inf_nan=False)


class JSONRoute(APIRoute):
    """A route whose body :func:`parse_json` reads."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(_JSONRequest(request.scope, request.receive))

        return handle_json


class _JSONRequest(Request):
    async def json(self) -> Any:
        try:
            return parse_json(await self.body())
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON that is read here: {error}") from error
