"""Forecasts, transcriptions, probes and metrics."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile
import websockets

from modrwkv_core.inference.engine import Engine
from modrwkv_core.interfaces.record import Media, Turn
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.serving.settings import Limits, ServeSettings

SERIES = [[float(np.sin(hour / 4)), 10 + float(np.cos(hour / 6))] for hour in range(64)]


def recording(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(int(8000 * seconds)) / 3), 8000, format="WAV")
    return file.getvalue()


def test_a_series_is_continued_with_quantiles(server: Any, make_session: Any) -> None:
    response = server.post("/v1/forecast", {"model": "tiny", "values": SERIES, "horizon": 9})
    assert response.status_code == 200, response.text
    found = response.json()
    expected = make_session().forecast(np.asarray(SERIES), 9)
    np.testing.assert_allclose(found["points"], expected.points, rtol=1e-5)
    assert list(found["quantiles"]) == ["0.1", "0.5", "0.9"]
    np.testing.assert_allclose(found["quantiles"]["0.9"], expected.quantiles[0.9], rtol=1e-5)


def test_a_file_is_continued_as_its_numbers(server: Any) -> None:
    text = "a,b\n" + "".join(f"{a},{b}\n" for a, b in SERIES)
    asked = {"model": "tiny", "horizon": 3, "quantiles": [0.9]}
    found = server.post("/v1/forecast", {**asked, "data": base64.b64encode(text.encode()).decode()}).json()
    assert list(found["quantiles"]) == ["0.9"]
    np.testing.assert_allclose(
        found["points"], server.post("/v1/forecast", {**asked, "values": SERIES}).json()["points"], rtol=1e-4
    )


def test_a_quantile_that_the_head_lacks_is_refused(server: Any) -> None:
    response = server.post("/v1/forecast", {"model": "tiny", "values": SERIES, "horizon": 3, "quantiles": [0.25]})
    assert response.status_code == 400
    assert "0.1, 0.5, 0.9" in response.json()["error"]["message"]


def test_large_and_late_forecasts_are_refused(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"model": "tiny", "values": SERIES, "horizon": 10}  # 10 points of 2 channels, once and for 3 levels
    with serve(ServeSettings(limits=Limits(forecast_numbers=80, request_seconds=60))) as server:
        assert server.post("/v1/forecast", asked).status_code == 200
        response = server.post("/v1/forecast", {**asked, "horizon": 11})
        assert response.status_code == 400
        assert "88 numbers, the limit is 80" in response.json()["error"]["message"]
    with serve(ServeSettings(limits=Limits(request_seconds=0.01))) as server:
        monkeypatch.setattr(Engine, "call", lambda *_: Future())  # a model that is busy with others
        response = server.post("/v1/forecast", asked)
        assert response.status_code == 408
        assert response.json()["error"]["code"] == "deadline_exceeded"


def test_a_recording_is_transcribed(server: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        client.chat.completions  # noqa: B018 - loads the client's resources outside of what is tested
        settings: Any = {"model": "tiny", "prompt": "What is said?"}
        file = ("a.wav", recording(0.3))
        found = client.audio.transcriptions.create(file=file, response_format="verbose_json", **settings)
        assert found.duration == pytest.approx(0.3)
        text = client.audio.transcriptions.create(file=file, response_format="text", **settings)
        assert text.strip() == found.text
        events = list(client.audio.transcriptions.create(file=file, stream=True, **settings))
        assert events[-1].type == "transcript.text.done"
        assert events[-1].text == found.text


def test_a_transcript_head_hears_recordings_where_the_model_has_one(make_session: Any, run_server: Any) -> None:
    session = make_session(heads={"lm": {"type": "lm"}, "ctc": {"type": "ctc", "modality": "audio"}})
    content = recording(0.3)
    expected = session.transcribe(Media("audio", content))
    assert expected == session.answer([[Turn("user", (Media("audio", content),))]], 1, head="ctc")[0]
    assert expected.strip(), "choose another seed: the head must hear something"
    with run_server(session) as server:

        def told(**form: Any) -> httpx.Response:
            files = {"file": ("a.wav", content)}
            url = f"{server.url}/v1/audio/transcriptions"
            return httpx.post(url, files=files, data={"model": "tiny", **form}, timeout=120)

        found = told(response_format="verbose_json").json()
        assert found["text"] == told(response_format="text").text.rstrip("\n") == expected.strip()
        usage = found["usage"]
        assert usage["output_tokens"] > 0
        assert usage["input_tokens"] > usage["output_tokens"]
        streamed = [json.loads(line[6:]) for line in told(stream=True).text.split("\n\n") if line.startswith("data: {")]
        assert [event["type"] for event in streamed] == ["transcript.text.delta", "transcript.text.done"]
        assert {streamed[0]["delta"], streamed[1]["text"]} == {expected.strip()}
        assert told(head="lm").json()["text"] != expected.strip()
        refused = told(head="forecast")
        assert refused.status_code == 400
        assert "name one of: ctc, lm" in refused.text
        pcm = (np.sin(np.arange(16_000) / 5) * 20_000).astype("<i2").tobytes()
        done = "conversation.item.input_audio_transcription.completed"
        sent = [pcm, {"type": "input_audio_buffer.commit"}]
        events = asyncio.run(hear(server.url, sent, done, 1))
        other = asyncio.run(hear(server.url, sent, done, 1, head="lm"))
        [refusal] = asyncio.run(hear(server.url, [], "error", 1, head="forecast"))
    assert other[-1]["transcript"] != events[-1]["transcript"]
    assert "name one of: ctc, lm" in refusal["error"]["message"]
    waveform = Waveform(np.frombuffer(pcm, "<i2").astype(np.float32) / 2**15, 16_000)
    assert events[-1]["transcript"] == session.transcribe(Media("audio", waveform))


@pytest.mark.parametrize("content", [b"", b"not a recording", recording(0.1)[:60]])
def test_what_is_no_recording_is_refused(server: Any, content: bytes) -> None:
    response = httpx.post(
        f"{server.url}/v1/audio/transcriptions", files={"file": ("a.wav", content)}, data={"model": "tiny"}, timeout=60
    )
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_input"


async def hear(url: str, messages: list[Any], until: str, count: int, head: str = "") -> list[dict[str, Any]]:
    events = []
    address = url.replace("http", "ws") + "/v1/realtime?model=tiny" + (f"&head={head}" if head else "")
    async with websockets.connect(address) as socket:
        for message in messages:
            await socket.send(message if isinstance(message, bytes) else json.dumps(message))
        while sum(event["type"] == until for event in events) < count:
            events.append(json.loads(await asyncio.wait_for(socket.recv(), 120)))
    return events


def test_windows_are_transcribed_while_sound_arrives(server: Any) -> None:
    pcm = (np.sin(np.arange(16_000 * 9) / 5) * 20_000).astype("<i2").tobytes()
    appended = [
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm[at : at + 50_001]).decode()}
        for at in range(0, 100_002, 50_001)
    ]
    done = "conversation.item.input_audio_transcription.completed"
    events = asyncio.run(hear(server.url, [*appended, pcm[100_002:], {"type": "input_audio_buffer.commit"}], done, 3))
    assert events[0]["type"] == "session.created"
    items = [event["item_id"] for event in events if event["type"] == "input_audio_buffer.committed"]
    assert len(set(items)) == 3, "two windows of 4 s and the rest"
    for item in items:
        deltas = [event["delta"] for event in events if event["type"].endswith("delta") and event["item_id"] == item]
        [completed] = [event for event in events if event["type"] == done and event["item_id"] == item]
        assert "".join(deltas) == completed["transcript"]


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        "[" * 100_000,
        '{"type": "unknown"}',
        '{"type": "input_audio_buffer.append", "audio": "*"}',
        '{"type": "session.update", "session": {"audio": {"input": {"transcription": {"prompt": "\\ud800"}}}}}',
    ],
)
def test_wrong_events_are_answered_and_the_connection_stays(server: Any, message: str) -> None:
    async def talk() -> list[dict[str, Any]]:
        async with websockets.connect(server.url.replace("http", "ws") + "/v1/realtime?model=tiny") as socket:
            await socket.send(message)
            await socket.send('{"type": "input_audio_buffer.clear"}')
            return [json.loads(await socket.recv()) for _ in range(3)]

    assert [event["type"] for event in asyncio.run(talk())] == [
        "session.created",
        "error",
        "input_audio_buffer.cleared",
    ]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(realtime_idle_seconds=0.1), "nothing was heard for too long"),
        (Limits(realtime_seconds=0.1), "the session has lasted 0.1 s"),
    ],
)
def test_sessions_end(serve: Callable[..., Any], limits: Limits, reason: str) -> None:
    async def listen(url: str) -> list[dict[str, Any]]:
        async with websockets.connect(url.replace("http", "ws") + "/v1/realtime?model=tiny") as socket:
            return [json.loads(event) async for event in socket]

    with serve(ServeSettings(limits=limits)) as server:
        created, ended = asyncio.run(listen(server.url))
    assert created["type"] == "session.created"
    assert ended["error"] == {
        "message": reason,
        "type": "invalid_request_error",
        "param": None,
        "code": "session_expired",
    }


def test_probes_and_metrics_tell_of_answers(server: Any) -> None:
    assert server.get("/healthz").json() == {"status": "ok"}
    assert server.get("/readyz").json() == {"status": "ok"}
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    before = tokens(server)
    answer = server.post("/v1/chat/completions", body)
    assert answer.status_code == 200
    # An answer that is drawn may end by itself.
    used = answer.json()["usage"]["completion_tokens"]
    assert 1 <= used <= 3
    assert tokens(server) == before + used
    text = server.get("/metrics").text
    assert 'modrwkv_free_slots{model="tiny"}' in text
    assert 'modrwkv_requests_total{route="/v1/chat/completions",status="200"}' in text


def test_probes_tell_of_an_engine_that_failed(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "failure", property(lambda _: RuntimeError("out of memory at /secret/place")))
    for path in ("/healthz", "/readyz"):
        response = server.get(path)
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "engine_failed"
        assert "tiny" in response.text
        assert "secret" not in response.text


def tokens(server: Any) -> float:
    lines = server.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('modrwkv_tokens_total{kind="completion",model="tiny"}')]
    return float(found[0].split()[-1]) if found else 0.0


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slots(serve: Callable[..., Any], stream: bool) -> None:
    with serve(ServeSettings()) as server:
        leave(server, stream)
        server.wait_until_idle()
        assert server.engine.stats().free_slots == 4


def leave(server: Any, stream: bool) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 4096,
        "n": 4,
        "stream": stream,
        "logit_bias": {"1": -100},
    }
    with pytest.raises(httpx.ReadTimeout) if not stream else pytest.MonkeyPatch.context():
        if stream:
            with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=120) as response:
                next(response.iter_lines())
        else:
            httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=httpx.Timeout(60, read=0.2))
