"""Video files: every frame that is asked for is the one that decoding from the beginning gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from modrwkv_video.footage import Footage
from modrwkv_video.modality import VideoModality
from numpy.typing import NDArray

from modrwkv_core.errors import DataError

Write = Callable[..., Path]
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
ASKED = ([0], [29], range(30), [0, 29], range(2, 30, 3), [7, 8, 9, 25], [13, 13, 14])


def decoded(media: Path | bytes) -> Footage:
    video = VideoModality().decode(media)
    assert isinstance(video, Footage)
    return video


def all_frames(path: Path) -> NDArray[np.uint8]:
    """Decode a file from its beginning to its end."""
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


@pytest.mark.parametrize(
    ("name", "options"),
    [(f"film{suffix}", {}) for suffix in SUFFIXES]
    + [("bidirectional.avi", {"bf": "2"}), ("bidirectional.mp4", {"bf": "3", "codec": "mpeg4"})],
)
def test_frames_are_those_of_decoding_from_the_beginning(video_file: Write, name: str, options: dict[str, str]) -> None:
    path = video_file(name, 30, **options)
    expected = all_frames(path)
    for media in (path, path.read_bytes()):
        video = decoded(media)
        assert len(video.moments) == len(expected) == 30
        assert video.seconds == pytest.approx(3.0)
        for asked in ASKED:
            found = np.stack([picture.pixels for picture in video.pictures(list(asked))])
            assert np.array_equal(found, expected[list(asked)]), asked


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_show_what_was_written(
    video_file: Write, frames_of: Callable[..., NDArray[np.uint8]], suffix: str
) -> None:
    frames = frames_of(12)
    video = decoded(video_file(f"film{suffix}", frames=frames, crf="10"))
    for number, picture in enumerate(video.pictures(range(12))):
        difference = picture.pixels.astype(int) - frames[number]
        assert np.abs(difference.mean(axis=(0, 2))).max() < (40 if suffix == ".gif" else 12)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_pictures_are_turned_as_the_camera_was(video_file: Write, rotation: int) -> None:
    path = video_file("turned.mp4", 3, rotation=rotation)
    stored = all_frames(path)
    for number, picture in enumerate(decoded(path).pictures(range(3))):
        assert np.array_equal(picture.pixels, np.rot90(stored[number], rotation // 90))


def test_frames_at_unequal_steps_keep_their_times(video_file: Write) -> None:
    moments = [0, 10, 20, 200, 210, 500]
    video = decoded(video_file("uneven.mp4", len(moments), moments=moments))
    assert ((video.moments - video.moments[0]) * video.unit * 100).round().tolist() == moments
    assert video.seconds >= 5.0


def test_one_frame_is_a_video(video_file: Write) -> None:
    video = decoded(video_file("one.mp4", 1))
    assert video.moments.tolist() == [0]
    assert len(list(video.pictures([0]))) == 1


def test_a_long_video_is_not_decoded_whole(video_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    video = decoded(video_file("long.mp4", 240))
    received: list[VideoFrame] = []
    decoder_at = Footage._decoder_at

    def counted(footage: Footage, container: InputContainer, stream: VideoStream, number: int) -> Iterator[VideoFrame]:
        for frame in decoder_at(footage, container, stream, number):
            received.append(frame)
            yield frame

    monkeypatch.setattr(Footage, "_decoder_at", counted)
    assert len(list(video.pictures([15, 120, 239]))) == 3
    assert len(received) <= 3 * 6, "key frames are 6 frames apart"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_files_are_refused(video_file: Write, suffix: str, part: float) -> None:
    path = video_file(f"cut{suffix}", 60, sound=None if suffix == ".webm" else (np.zeros((1, 48000), np.float32), 8000))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=path.name):
        decoded(path)


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_films_are_named_with_the_second(video_file: Write, part: float) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (1, 48000)).astype(np.float32)
    path = video_file("cut.mkv", 60, sound=(sound, 8000))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=rf"cut\.mkv is truncated: it holds {6 * part:.0f}\.\d\d of 6\.00 s"):
        decoded(path)


def test_damage_within_the_pictures_is_found_when_they_are_decoded(video_file: Write) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    path = video_file("damaged.mp4", frames=noise)
    content = bytearray(path.read_bytes())
    begin, end = content.index(b"mdat"), content.rindex(b"moov")
    late = begin + (end - begin) * 4 // 5
    content[late : late + 400] = bytes(400)
    path.write_bytes(content)
    video = decoded(path)
    assert len(list(video.pictures(range(30)))) == 30
    with pytest.raises(DataError, match=r"damaged\.mp4 is damaged: the frame at \d\.\d0 s cannot be decoded"):
        list(video.pictures(range(60)))


def test_a_file_that_disappears_is_named(video_file: Write) -> None:
    path = video_file("gone.mp4", 3)
    video = decoded(path)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*gone\.mp4"):
        list(video.pictures([0]))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_alone_is_no_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sound{suffix}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with pytest.raises(DataError, match=rf"sound{suffix} holds no moving images, only audio"):
        decoded(path)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        file.start_encoding()
    with pytest.raises(DataError, match=r"empty\.mkv"):
        decoded(path)


def test_playlists_open_no_further_files(video_file: Write, tmp_path: Path) -> None:
    inner = video_file("inner.mp4", 3)
    for name, text in (
        ("list.ffconcat", f"ffconcat version 1.0\nfile {inner.name}\n"),
        ("list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{inner.name}\n#EXT-X-ENDLIST\n"),
        ("frames.txt", "a page of text\n" * 100),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(DataError, match=f"{name} is not a video"):
            decoded(path)


def test_limits_can_be_set(video_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video_file("large.mp4", 5)
    size = path.stat().st_size
    for media in (path, path.read_bytes()):
        with pytest.raises(DataError, match=f"too large: {size:,} bytes, the limit is 100"):
            VideoModality(max_bytes=100).decode(media)
    with pytest.raises(DataError, match=r"large\.mp4 is too large: its frames have 3,072 pixels, the limit is 3,071"):
        VideoModality(max_pixels=64 * 48 - 1).decode(path)
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", str(size))
    monkeypatch.setenv("MODRWKV_MAX_IMAGE_PIXELS", str(64 * 48))
    decoded(path)
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", "many")
    with pytest.raises(DataError, match="MODRWKV_MAX_FILE_BYTES is 'many'"):
        VideoModality()


def test_bytes_that_were_changed_at_random_never_give_another_error(video_file: Write) -> None:
    draw = np.random.default_rng(0)
    refused = 0
    for suffix, _ in itertools.product((".mp4", ".mkv", ".avi", ".gif"), range(8)):
        content = bytearray(video_file(f"random{suffix}", 12).read_bytes())
        for at in draw.integers(0, len(content), 30):
            content[at] = draw.integers(256)
        try:
            video = decoded(bytes(content))
            assert all(picture.pixels.ndim == 3 for picture in video.pictures(range(len(video.moments))))
        except DataError:
            refused += 1
    assert refused > 8
