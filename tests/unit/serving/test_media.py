"""Media of requests: whatever arrives is a signal within limits, or an error that says why."""

from __future__ import annotations

import base64
import contextlib
import io
import threading
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import anyio
import numpy as np
import PIL.Image
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.serving import media
from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.media import MediaReader
from modrwkv_core.serving.media_budget import MediaBudget
from modrwkv_core.serving.schemas.common import SeriesData
from modrwkv_core.serving.settings import Limits, ServeSettings

SESSION: Any = SimpleNamespace(model=SimpleNamespace(preprocessors={"image": 1, "audio": 1, "series": 1}))
LIMITS = Limits(image_pixels=10_000, audio_seconds=2.0, series_points=1_000)
BUDGET = MediaBudget(LIMITS)
READER = MediaReader(ServeSettings(limits=LIMITS), BUDGET)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (255, 0, 0)).save(file, "PNG")
    return file.getvalue()


def wav(seconds: float, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(seconds * rate)), rate, format="WAV")
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def read(method: Callable[..., Awaitable[Any]], *given: Any) -> Any:
    with BUDGET.request():
        return anyio.run(method, *given).media


def read_image(url: str, session: Any = SESSION, reader: MediaReader = READER) -> Any:
    return read(reader.image, session, url)


def read_audio(content: str | bytes) -> Any:
    return read(READER.audio, SESSION, content)


def read_series(**given: Any) -> Any:
    return read(READER.series, SESSION, SeriesData(**given))


def test_an_image_is_read_from_a_data_uri() -> None:
    assert read_image(f"data:image/png;base64,{encoded(png(6, 4))}").pixels.shape == (4, 6, 3)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(DataError, match="too large"):
        read_image(f"data:image/png;base64,{encoded(png(101, 100))}")


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "file:///etc/passwd", "../secret.png", "https://example.org/a.png", "http://localhost/", ""]
)
def test_neither_files_nor_addresses_are_read(url: str) -> None:
    with pytest.raises(APIError, match="fetches nothing"):
        read_image(url)


@pytest.mark.parametrize("url", ["/etc/passwd", "file:///etc/passwd", "http://localhost/", "http://127.0.0.1/x.png"])
def test_with_remote_media_files_and_the_own_network_stay_closed(url: str) -> None:
    with pytest.raises(DataError):
        read_image(url, reader=MediaReader(ServeSettings(remote_media=True), BUDGET))


def test_a_recording_is_read_from_base64_and_bytes() -> None:
    assert len(read_audio(encoded(wav(0.5))).samples) == 4000
    assert len(read_audio(wav(0.5)).samples) == 4000


def test_a_long_recording_is_refused() -> None:
    with pytest.raises(DataError, match="the limit is 2 s"):
        read_audio(wav(2.5))


def test_a_series_is_read_from_numbers_and_files() -> None:
    assert read_series(values=[1, 2, 3]).values.tolist() == [[1], [2], [3]]
    assert read_series(values=[[1, 2], [3, 4]]).values.tolist() == [[1, 2], [3, 4]]
    assert read_series(data=encoded(b"a,b\n1,2\n3,4\n")).values.tolist() == [[1, 2], [3, 4]]
    assert read_series(data=encoded(npy(np.arange(3.0)))).values.tolist() == [[0], [1], [2]]


def test_long_ragged_and_empty_series_are_refused() -> None:
    with pytest.raises(DataError, match="1,001 numbers"):
        read_series(values=list(range(1001)))
    with pytest.raises(DataError, match="equal lengths"):
        read_series(values=[[1, 2], [3]])
    with pytest.raises(DataError, match="no points"):
        read_series(values=[])


def test_nothing_is_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("the server unpickled what a client sent",)

    with pytest.raises(DataError, match="Python objects"):
        read_series(data=encoded(npy(np.array([Bomb()], dtype=object))))


def test_what_unpacks_to_more_than_it_is_is_refused() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, np.zeros(10))
    with pytest.raises(DataError, match="compressed"):
        read_series(data=encoded(file.getvalue()))


def test_a_header_that_announces_much_takes_no_memory() -> None:
    header = npy(np.zeros(1))[:128].replace(b"(1,)", b"(9999999999999,)")
    with pytest.raises(DataError):
        read_series(data=encoded(header))


def test_a_modality_that_the_model_lacks_is_named() -> None:
    blind: Any = SimpleNamespace(model=SimpleNamespace(preprocessors={"audio": 1}))
    with pytest.raises(APIError, match="takes no image; it takes text, audio"):
        read_image("data:,", session=blind)


def test_small_bodies_do_not_fill_the_memory() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000), 8_000, format="FLAC")
    silence = file.getvalue()
    decoded = 4 * 16_000
    assert len(silence) < decoded / 100
    limits = Limits(media_bytes=3 * decoded, open_media_bytes=4 * decoded)
    budget = MediaBudget(limits)
    reader = MediaReader(ServeSettings(limits=limits), budget)

    async def hear(count: int) -> None:
        for _ in range(count):
            await reader.audio(SESSION, silence)

    async def request(count: int) -> None:
        with budget.request():
            await hear(count)

    async def check() -> None:
        with pytest.raises(APIError, match="more than 192,000 bytes of memory") as caught:
            await request(4)
        assert caught.value.status == 413
        for _ in range(3):  # what was refused is not counted forever
            with budget.request():
                await hear(3)
                with pytest.raises(APIError, match="busy") as caught:
                    await request(2)
                assert caught.value.status == 429

    anyio.run(check)


def test_addresses_that_do_not_answer_do_not_keep_others_from_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def fetch(*_: Any) -> bytes:
        assert answered.wait(60)
        return png(6, 4)

    monkeypatch.setattr(media, "fetch", fetch)
    reader = MediaReader(ServeSettings(remote_media=True), BUDGET)

    async def check() -> None:
        with BUDGET.request():
            async with anyio.create_task_group() as tasks:
                for _ in range(12):
                    tasks.start_soon(reader.image, SESSION, "https://slow.example/")
                await anyio.wait_all_tasks_blocked()
                await reader.audio(SESSION, wav(0.1))
                answered.set()

    anyio.run(check)


SAMPLES = [png(8, 8), wav(0.1), npy(np.arange(4.0)), b"a,b\n1,2\n", b""]
DAMAGED = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda sample, at, patch: sample[: at % (len(sample) + 1)] + patch + sample[at % (len(sample) + 1) :],
        st.sampled_from(SAMPLES),
        st.integers(0, 1000),
        st.binary(max_size=8),
    ),
    st.builds(lambda sample, end: sample[:end], st.sampled_from(SAMPLES), st.integers(0, 1000)),
)


@given(DAMAGED)
def test_whatever_arrives_is_a_signal_or_an_error(content: bytes) -> None:
    for read in (
        lambda: read_image(f"data:image/png;base64,{encoded(content)}"),
        lambda: read_audio(content),
        lambda: read_audio(encoded(content)),
        lambda: read_series(data=encoded(content)),
    ):
        with contextlib.suppress(DataError):
            signal = read()
            array = next(getattr(signal, name) for name in ("pixels", "samples", "values") if hasattr(signal, name))
            assert np.isfinite(array).all()


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_whatever_an_address_is_it_is_an_image_or_an_error(url: str) -> None:
    for text in (url, f"data:{url}", f"data:image/png;base64,{url}"):
        with pytest.raises((DataError, APIError)):
            read_image(text)
