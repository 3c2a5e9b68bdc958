"""Runs a server until it is told to stop, and lets open requests finish then."""

from __future__ import annotations

from collections.abc import Mapping

import uvicorn

from modrwkv_core.inference.engine import Engine
from modrwkv_core.serving.app import create_app
from modrwkv_core.serving.settings import ServeSettings

__all__ = ["run_server"]


def run_server(
    models: Mapping[str, Engine], settings: ServeSettings, *, host: str, port: int, drain_seconds: int
) -> None:
    """Serve ``models`` until SIGTERM or Ctrl-C.

    Then no connection is accepted any more, and open requests may finish.

    Args:
        models: Engines by the name that requests call them; they are closed at the end.
        settings: Keys and limits.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        drain_seconds: After so many seconds, requests that are still open are cut off.
    """
    config = uvicorn.Config(
        create_app(models, settings, host),
        host=host,
        port=port,
        log_level="warning",
        ws="websockets-sansio",
        ws_max_size=settings.limits.body_bytes,
        timeout_graceful_shutdown=drain_seconds,
        server_header=False,
    )
    uvicorn.Server(config).run()
