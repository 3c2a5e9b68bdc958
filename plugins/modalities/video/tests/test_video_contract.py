from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modrwkv_video.modality import VideoModality
from modrwkv_video.signal import Clip, Video

from modrwkv_core.interfaces.signals import Image
from modrwkv_core.testing import EncoderContract, ModalityContract

SIGLIP2 = {
    "type": "siglip2",
    "init": "scratch",
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": 12,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 16,
}


class TestVideoModality(ModalityContract):
    plugin = "modrwkv_video.plugin"
    name = "video"

    @pytest.fixture(autouse=True)
    def _writer(self, video_file: Callable[..., Path]) -> None:
        self.write = video_file

    def media(self, folder: Path) -> Sequence[Any]:
        files = [self.write(f"film{suffix}", 5) for suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")]
        pixels = np.zeros((3, 8, 8, 3), np.uint8)
        pictures = [Image(frame) for frame in pixels]
        return [*files, str(files[0]), files[0].read_bytes(), pixels, (pixels, 25.0), pictures, Clip(pixels)]

    def bad_media(self, folder: Path) -> Sequence[Any]:
        text = folder / "text.mp4"
        text.write_text("not a video")
        empty = folder / "empty.mp4"
        empty.touch()
        return [
            text,
            empty,
            b"",
            folder,
            b"not a video",
            {"frames": 3},
            [],
            np.zeros((3, 8, 8), np.uint8),
            np.zeros((3, 8, 8, 4), np.uint8),
            np.zeros((3, 8, 8, 3), np.float32),
            np.zeros((0, 8, 8, 3), np.uint8),
            [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)],
            (np.zeros((3, 8, 8, 3), np.uint8), 0.0),
        ]


class TestVideoFrames(EncoderContract):
    plugin = "modrwkv_video.plugin"
    name = "video_frames"
    configs = (
        {"encoder": SIGLIP2},
        {"encoder": SIGLIP2, "frames": 5, "window": 3},
        {"encoder": SIGLIP2, "frames": 1, "window": 1},
        {"encoder": SIGLIP2, "static_threshold": 20.0},
    )
    unreached = frozenset({"encoder.tower.encoder.layers.0.self_attn.k_proj.bias"})
    """Softmax does not see what all keys share."""


class TestFilmsFromFiles(TestVideoFrames):
    configs = (
        {"encoder": SIGLIP2, "fps": 5.0, "max_frames": 7},
        {"encoder": SIGLIP2, "fps": 5.0, "timestamps": True, "sound": True, "static_threshold": 3.0},
    )

    @pytest.fixture(autouse=True)
    def _films(self, video_file: Callable[..., Path]) -> None:
        sound = (np.full((1, 8000), 0.1, np.float32), 8000)
        self.films = [VideoModality().decode(video_file(f"{count}.mp4", count, sound=sound)) for count in (1, 4, 40)]

    def signals(self, config: Any) -> Sequence[Video]:
        return self.films
