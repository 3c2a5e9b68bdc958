"""The page for browsers: files of this package, which load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.responses import FileResponse

from modrwkv_core.serving.errors import not_found

__all__ = ["page_router"]

_FOLDER: Final = Path(__file__).with_name("page")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "media-src blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path for path in _FOLDER.iterdir()}

    @router.get("/")
    async def index() -> FileResponse:
        """Return the page."""
        return FileResponse(files["index.html"], headers=_HEADERS)

    @router.get("/ui/{name}")
    async def file(name: str) -> FileResponse:
        """Return one of its files."""
        if name not in files:
            raise not_found("file", name)
        return FileResponse(files[name], headers=_HEADERS)

    return router
