"""The client of the benchmark against a server."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from modrwkv_core.benchmarking.report import Goal
from modrwkv_core.benchmarking.server import bench_server
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.benchmarking.streaming_client import Streamed, get, stream

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "temperature": 0}


@pytest.fixture
def port(server: Any) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def test_a_stream_is_read_to_its_end(server: Any, port: int) -> None:
    expected = server.post("/v1/chat/completions", BODY).json()["usage"]["completion_tokens"]
    streamed = asyncio.run(stream(port, BODY))
    assert (streamed.status, streamed.tokens, streamed.is_complete) == (200, expected, True)
    assert streamed.first_s is not None


def test_who_leaves_frees_the_slot(server: Any, port: int) -> None:
    body = {**BODY, "max_tokens": 128, "logit_bias": {"1": -100}}
    for events in (0, 3):
        left = asyncio.run(stream(port, body, leave_after=events))
        assert (left.status, left.is_complete) == (200, False)
        assert (left.first_s is None) == (events == 0)
    server.wait_until_idle()


def test_refusals_and_silence_are_no_answers(server: Any, port: int) -> None:
    assert asyncio.run(stream(port, {**BODY, "model": "none"})) == Streamed(404)
    assert asyncio.run(get(port, "/readyz")) == (200, '{"status":"ok"}')

    async def ask_someone_silent() -> None:
        silent = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with silent:
            with pytest.raises(ConnectionError):
                await get(silent.sockets[0].getsockname()[1], "/")

    asyncio.run(ask_someone_silent())


@pytest.mark.slow
def test_the_benchmark_of_the_server_measures_all_of_it() -> None:
    report = bench_server(
        ModelSize(1, 64, 320), streams=4, slots=2, tokens=8, clients=12, weights="auto", device="cpu", seconds=4.0
    )
    rows: dict[str, Goal] = {row.name: row for row in report.rows}
    assert rows["errors"].value == rows["incomplete answers"].value == 0
    assert rows["answers"].value >= 4
    assert rows["free slots afterwards"].is_met
    assert rows["server / engine"].value > 0
    assert rows["time to first token, p99"].value >= rows["time to first token, median"].value > 0
