"""A client of OpenAI's protocol that costs little: it counts the events of a stream, and reads the last ones only."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["HOST", "Streamed", "get", "stream"]

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of a stream.

    Attributes:
        status: Of HTTP.
        first_s: Seconds from the request to the first event; None if none came.
        last_s: Seconds from the request to the last event; None if none came.
        events: Number of events.
        tokens: Tokens of the answer, as the server counts them; None if it does not say.
        is_complete: Whether the stream ended as the protocol demands, without an error.
    """

    status: int
    first_s: float | None = None
    last_s: float | None = None
    events: int = 0
    tokens: int | None = None
    is_complete: bool = False


async def stream(port: int, body: dict[str, Any], *, leave_after: int | None = None) -> Streamed:
    """Ask ``/v1/chat/completions`` for a stream, on a connection of its own.

    Args:
        port: Of this machine.
        body: The request, without ``stream``.
        leave_after: Close the connection after so many events; None reads all of them.

    Raises:
        OSError: The connection broke.
    """
    content = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(_head("POST", "/v1/chat/completions", len(content)) + content)
        status = await _status(reader)
        first, seconds, last, before, events = None, None, b"", b"", 0
        while status == 200 and events != leave_after and (line := await reader.readline()):
            # The server sends each event as one chunk, so that lengths of chunks stand on lines of their own.
            if line.startswith(b"data: "):
                seconds = time.perf_counter() - began
                first = seconds if first is None else first
                events += 1
                before, last = last, line
        if last.strip() != b"data: [DONE]":
            return Streamed(status, first, seconds, events)
        usage = json.loads(before.removeprefix(b"data: ")).get("usage")
        return Streamed(status, first, seconds, events, usage and usage["completion_tokens"], is_complete=True)
    finally:
        writer.close()


async def get(port: int, path: str) -> tuple[int, str]:
    """Return the status and the body of a small answer.

    Raises:
        OSError: The connection broke.
    """
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(_head("GET", path, 0))
        status = await _status(reader)
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return status, body.decode()
    finally:
        writer.close()


def _head(method: str, path: str, length: int) -> bytes:
    lines = (
        f"{method} {path} HTTP/1.1",
        f"Host: {HOST}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


async def _status(reader: asyncio.StreamReader) -> int:
    words = (await reader.readline()).split()
    if len(words) < 2:
        raise ConnectionError("the server closed the connection")
    return int(words[1])
