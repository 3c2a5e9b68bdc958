"""A film in the token stream: windows, times, sound, and patches that have not changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_video.config import VideoFramesConfig
from modrwkv_video.modality import VideoModality
from modrwkv_video.processor import CHANGED
from modrwkv_video.signal import Clip
from modrwkv_video.static_patches import StaticPatches
from numpy.typing import NDArray
from pydantic import ValidationError

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.grids import Grid, grids_of
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.manifest.unions import Components
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.registry import discover

SIZES = {"image_size": 16, "patch_size": 8, "hidden_size": 12, "num_layers": 1, "num_heads": 2, "intermediate_size": 16}
SIGLIP2 = {"type": "siglip2", "init": "scratch", **SIZES}
REGISTRY = discover()
RATE = 8000
Write = Callable[..., Path]


def configured(encoder: dict[str, Any] | None = None, **keys: Any) -> VideoFramesConfig:
    context = {"components": Components(REGISTRY)}
    return VideoFramesConfig.model_validate({"encoder": encoder or SIGLIP2, **keys}, context=context)


def parts(config: VideoFramesConfig, video: Any) -> list[Any]:
    return list(build_processor(REGISTRY, config).parts(video))


def told(found: list[Any]) -> list[Any]:
    """Frames of each item, texts, and seconds of each sound."""
    return [
        part.text
        if isinstance(part, Text)
        else round(len(part.media.samples) / part.media.rate, 3)
        if isinstance(part, Media)
        else len(part.tensors["pixels"])
        for part in found
    ]


def noise(frames: int, rate: float | None = 1.0) -> Clip:
    return Clip(np.random.default_rng(frames).integers(0, 256, (frames, 20, 30, 3), dtype=np.uint8), rate)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5))
def test_windows_are_media_of_their_own_with_the_features_of_the_whole(frames: int, window: int) -> None:
    config = configured(frames=12, window=window)
    video = noise(frames)
    whole, items = build_processor(REGISTRY, config)(video), parts(config, video)
    assert [len(item.tensors["pixels"]) for item in items] == [
        min(window, frames - begin) for begin in range(0, frames, window)
    ]
    assert all(grids_of(item.length) == ((2, 2),) for item in items)
    assert grids_of(whole.length) == ((2, 2),) * len(items)
    encoder = build_encoder(REGISTRY, config).eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(items).packed(), encoder([whole]).packed(), rtol=0, atol=2e-6)


def test_frames_of_long_films_are_encoded_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(frames=20)
    item = build_processor(REGISTRY, config)(noise(20))
    encoder = build_encoder(REGISTRY, config).eval()
    with torch.no_grad():
        expected = encoder([item]).values
        monkeypatch.setattr("modrwkv_video.encoder.BATCH", 3)
        torch.testing.assert_close(encoder([item]).values, expected, rtol=0, atol=2e-6)


def test_times_are_those_of_frames_that_are_not_at_equal_steps(video_file: Write) -> None:
    moments = [0, 10, 20, 200, 210, 500]
    film = VideoModality().decode(video_file("uneven.mp4", len(moments), moments=moments))
    found = parts(configured(frames=1000, window=1, timestamps=True), film)
    assert told(found)[::2] == ["<0.0s>", "<0.1s>", "<0.2s>", "<2.0s>", "<2.1s>", "<5.0s>"]
    assert told(parts(configured(frames=1000, window=2, timestamps=True), film)) == [
        "<0.0s>", 2, "<0.2s>", 2, "<2.1s>", 2,
    ]  # fmt: skip


def test_the_sound_between_two_windows_follows_the_first(video_file: Write) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 3 * RATE)).astype(np.float32)
    film = VideoModality().decode(video_file("film.mkv", 30, sound=(sound, RATE)))
    found = parts(configured(fps=2.0, timestamps=True, sound=True), film)
    # Of 6 stretches of half a second, the frames in the middle; the first window has the sound before it, too.
    assert told(found) == ["<0.2s>", 2, 1.2, "<1.2s>", 2, 1.0, "<2.2s>", 2, 0.8]
    assert all(part.modality == "audio" for part in found if isinstance(part, Media))
    samples = np.concatenate([part.media.samples for part in found if isinstance(part, Media)])
    np.testing.assert_allclose(samples, sound[0], atol=1e-6)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, [2, 2, 2]),
        (0.7, [2, 1.2, 2, 2]),
        (1.5, [2, 1.2, 2, 1.0, 2]),
        (5.0, [2, 1.2, 2, 1.0, 2, 2.8]),
        (34.2, [2, 1.2, 2, 1.0, 2, 16.0, 16.0]),
    ],
)
def test_sound_tracks_that_are_missing_shorter_or_longer(
    video_file: Write, seconds: float | None, expected: list[Any]
) -> None:
    sound = None if seconds is None else (np.full((1, round(seconds * RATE)), 0.25, np.float32), RATE)
    film = VideoModality().decode(video_file("film.mkv", 30, sound=sound))
    found = parts(configured(fps=2.0, sound=True), film)
    assert told(found) == expected
    samples = [part.media.samples for part in found if isinstance(part, Media)]
    if seconds is not None:
        joined = np.concatenate(samples)
        np.testing.assert_allclose(joined[: round(seconds * RATE)], 0.25)
        assert not joined[round(seconds * RATE) :].any(), "the rest is silence"


def test_times_and_sound_need_the_rate_of_a_video_in_memory() -> None:
    for keys in ({"timestamps": True}, {"sound": True}):
        with pytest.raises(DataError, match=r"it must be known how fast a video in memory is"):
            parts(configured(**keys), noise(3, None))
    assert told(parts(configured(timestamps=True, frames=4), noise(4, 2.0))) == ["<0.0s>", 2, "<1.0s>", 2]
    assert told(parts(configured(sound=True, frames=4), noise(4, 2.0))) == [2, 2]


def squares(frames: int, place: Callable[[int], int | None]) -> NDArray[np.uint8]:
    """A gray film of 16 x 16 pixels in which one of 4 squares is white in some frames."""
    film = np.full((frames, 16, 16, 3), 100, np.uint8)
    for frame in range(frames):
        if (at := place(frame)) is not None:
            row, column = divmod(at, 2)
            film[frame, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    return film


def kept(config: VideoFramesConfig, film: NDArray[np.uint8]) -> list[list[int]]:
    return [item.tensors[CHANGED].tolist() for item in parts(config, Clip(film, 1.0))]


def test_patches_that_have_not_changed_are_left_out() -> None:
    config = configured(frames=8, window=2, static_threshold=2.0)
    film = squares(8, lambda frame: {3: 2, 4: 2, 5: 2, 6: 1, 7: 1}.get(frame))
    # Patch 2 turns white in the second window and stays so in the third; in the last, it is gray again and 1 is white.
    assert kept(config, film) == [[0, 1, 2, 3], [2], [1, 2]]
    whole = build_processor(REGISTRY, config)(Clip(film, 1.0))
    assert whole.length == 7
    encoder = build_encoder(REGISTRY, config).eval()
    full = build_encoder(REGISTRY, configured(frames=8, window=2)).eval()
    full.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        every = full([build_processor(REGISTRY, full.config)(Clip(film, 1.0))]).values[0]
        expected = every[[0, 1, 2, 3, 4 + 2, 12 + 1, 12 + 2]]
        torch.testing.assert_close(encoder([whole]).values[0], expected, rtol=0, atol=2e-6)
        split = encoder(parts(config, Clip(film, 1.0)))
        assert split.lengths.tolist() == [4, 1, 2]
        torch.testing.assert_close(split.packed(), expected, rtol=0, atol=2e-6)


def test_times_stand_before_windows_that_are_kept_only() -> None:
    config = configured(frames=8, window=2, static_threshold=2.0, timestamps=True)
    film = squares(8, lambda frame: 0 if frame == 7 else None)
    assert told(parts(config, Clip(film, 1.0))) == ["<0.0s>", 2, "<6.0s>", 2]


def test_a_still_film_is_one_picture() -> None:
    config = configured(fps=1.0, window=1, static_threshold=0.0, max_frames=500)
    assert kept(config, squares(300, lambda _: 3)) == [[0, 1, 2, 3]]


def test_slow_changes_add_up() -> None:
    film = np.repeat(np.arange(0, 200, dtype=np.uint8), 3 * 256).reshape(200, 16, 16, 3)
    shown = kept(configured(frames=200, window=1, static_threshold=10.0), film)
    assert len(shown) == 1 + 199 // 11, "each time the brightness has changed by more than 10"


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 4), st.floats(0.0, 100.0))
def test_changed_patches_are_those_of_a_slow_reference(
    data: st.DataObject, rows: int, columns: int, threshold: float
) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 1000)))
    size = 4
    static, shown = StaticPatches(Grid(rows, columns), threshold), None
    for _ in range(5):
        frames = draw.integers(0, draw.integers(2, 256), (2, 3, rows * size, columns * size), dtype=np.uint8)
        found = static.changed(torch.from_numpy(frames)).tolist()
        if shown is None:
            shown, expected = frames[-1].astype(float), list(range(rows * columns))
        else:
            expected = []
            for patch in range(rows * columns):
                top, left = size * (patch // columns), size * (patch % columns)
                area = np.s_[:, top : top + size, left : left + size]
                if max(np.abs(frame.astype(float)[area] - shown[area]).mean() for frame in frames) > threshold:
                    expected.append(patch)
                    shown[area] = frames[-1][area]
        assert found == expected


def test_an_encoder_without_one_picture_of_a_frame_cannot_compare_patches() -> None:
    towers = {"a": SIGLIP2, "b": SIGLIP2}
    config = configured({"type": "fusion", "towers": towers}, static_threshold=1.0)
    with pytest.raises(DataError, match=r"'fusion' does not make one picture of 8-bit values of a frame"):
        parts(config, noise(4))


def test_features_without_a_grid_cannot_be_left_out() -> None:
    clip = {"type": "clip", "init": "scratch", **SIZES, "cls": True}
    with pytest.raises(ValidationError, match="the features of 'clip' do not form one grid"):
        configured(clip, static_threshold=1.0)
    with pytest.raises(ValidationError, match="less than or equal to 255"):
        configured(static_threshold=256.0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2000), (2000, 1)])
def test_odd_frames_are_read(video_file: Write, height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    for media in (frames, VideoModality().decode(video_file("odd.gif", frames=frames))):
        video = VideoModality().decode(media)
        [first, second] = parts(configured(frames=4), video)
        assert isinstance(first, MediaItem)
        assert (first.length, second.length) == (4, 4)
