"""Which frames are read, and what becomes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_video.config import VideoFramesConfig
from modrwkv_video.processor import VideoFramesProcessor, spread
from modrwkv_video.signal import Clip
from pydantic import ValidationError
from transformers import SiglipVisionConfig, SiglipVisionModel

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.grids import grids_of
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.manifest.unions import Components
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.registry import discover

SIZES = {"image_size": 16, "patch_size": 8, "hidden_size": 12, "num_layers": 1, "num_heads": 2, "intermediate_size": 16}
SIGLIP2 = {"type": "siglip2", "init": "scratch", **SIZES}
REGISTRY = discover()


def configured(encoder: dict[str, Any] | None = None, **keys: Any) -> VideoFramesConfig:
    context = {"components": Components(REGISTRY)}
    return VideoFramesConfig.model_validate({"encoder": encoder or SIGLIP2, **keys}, context=context)


def clip(frames: int, rate: float | None = None) -> Clip:
    return Clip(np.random.default_rng(frames).integers(0, 256, (frames, 20, 30, 3), dtype=np.uint8), rate)


def item(config: VideoFramesConfig, video: Clip) -> MediaItem:
    return build_processor(REGISTRY, config)(video)


@pytest.mark.parametrize(
    ("moments", "count", "expected"),
    [
        (range(8), 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (range(8), 4, [1, 3, 5, 7]),
        (range(9), 3, [1, 4, 7]),
        (range(100), 2, [25, 75]),
        (range(3), 8, [0, 1, 2]),
        (range(100, 200), 1, [50]),
        ([5], 4, [0]),
        ([0, 10, 20, 300], 4, [2, 3]),
        ([0, 1, 2, 3, 100, 101], 2, [3]),
    ],
)
def test_frames_are_those_shown_in_the_middle_of_equal_stretches(moments: Any, count: int, expected: list[int]) -> None:
    assert spread(np.array(list(moments)), count) == expected


@given(st.sets(st.integers(-50, 500), min_size=1, max_size=40), st.integers(1, 30))
def test_chosen_frames_rise_and_each_is_on_show(moments: set[int], count: int) -> None:
    shown = np.array(sorted(moments))
    chosen = spread(shown, count)
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= min(count, len(shown))
    steps = np.diff(shown)
    if len(shown) > 1 and (steps == steps[0]).all() and count >= len(shown):
        assert chosen == list(range(len(shown))), "all frames, if so many are asked for"


@pytest.mark.parametrize(
    ("frames", "rate", "keys", "expected"),
    [
        (20, None, {}, 8),
        (5, None, {}, 5),
        (20, 10.0, {"frames": 3}, 3),
        (20, 10.0, {"fps": 2.0}, 4),
        (20, 10.0, {"fps": 100.0}, 20),
        (200, 1.0, {"fps": 1.0}, 64),
        (200, 1.0, {"fps": 1.0, "max_frames": 10}, 10),
        (1, 30.0, {"fps": 0.1}, 1),
    ],
)
def test_the_number_of_frames(frames: int, rate: float | None, keys: dict[str, Any], expected: int) -> None:
    made = item(configured(**keys), clip(frames, rate))
    assert made.length == 4 * math.ceil(expected / 2), "4 patches for each window of 2 frames"
    assert {tensor.shape[0] for tensor in made.tensors.values()} == {expected}


def test_frames_for_each_second_of_an_unknown_rate_are_refused() -> None:
    with pytest.raises(DataError, match="for `fps`, it must be known how fast a video in memory is"):
        item(configured(fps=2.0), clip(9))


def test_frames_are_processed_as_pictures_are() -> None:
    config = configured(frames=4)
    video = clip(8)
    pictures = build_processor(REGISTRY, config.encoder)
    made = item(config, video)
    for row, frame in enumerate((1, 3, 5, 7)):
        expected = pictures(next(video.pictures([frame]))).tensors["pixels"]
        assert torch.equal(made.tensors["pixels"][row], expected)


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=3), window=st.integers(1, 5))
def test_features_are_the_means_over_windows_of_each_patch(counts: list[int], window: int) -> None:
    config = configured(frames=9, window=window)
    torch.manual_seed(0)
    encoder = build_encoder(REGISTRY, config).eval()
    items = [item(config, clip(count)) for count in counts]
    with torch.no_grad():
        features = encoder(items)
        assert features.lengths.tolist() == [4 * math.ceil(count / window) for count in counts]
        for row, video in enumerate(items):
            frames = [
                encoder.encoder([MediaItem({"pixels": pixels}, 4)]).values[0].double().numpy()
                for pixels in video.tensors["pixels"]
            ]
            windows = [frames[begin : begin + window] for begin in range(0, len(frames), window)]
            expected = np.concatenate([sum(members) / len(members) for members in windows])
            found = features.values[row, : len(expected)].double().numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
            assert not features.values[row, len(expected) :].any()


class Grower(Processor[Any, Any]):
    """Gives every image another number of patches than usual."""

    def __call__(self, signal: Any) -> MediaItem:
        return MediaItem({"pixels": torch.zeros(3)}, 7)


def test_an_encoder_whose_pictures_differ_is_refused() -> None:
    config = configured()
    with pytest.raises(DataError, match=r"'siglip2' makes 7 of a frame of this size, where 4 are usual"):
        VideoFramesProcessor(config, encoder=Grower(config.encoder))(clip(3))


def test_pretrained_weights_of_the_encoder_of_pictures_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(1)
    upstream = SiglipVisionModel(
        SiglipVisionConfig(
            image_size=16, patch_size=8, hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16,
        )
    ).eval()  # fmt: skip
    upstream.save_pretrained(tmp_path)
    config = configured({"type": "siglip2", "checkpoint": str(tmp_path), "resample": "bilinear"}, frames=2, window=1)
    encoder = build_encoder(REGISTRY, config).eval()
    encoder.load_pretrained()
    assert [file.name for file in encoder.pretrained_files()] == ["model.safetensors"]
    made = item(config, clip(2))
    with torch.no_grad():
        pixels = normalize_pixels(made.tensors["pixels"], (0.5,), (0.5,))
        expected = upstream(pixel_values=pixels).last_hidden_state.flatten(0, 1)
        torch.testing.assert_close(encoder([made]).values[0], expected, rtol=0, atol=1e-6)
    for file in tmp_path.iterdir():
        file.unlink()
    again = configured(config.resolved().model_dump(mode="json")["encoder"], frames=2, window=1)
    assert again.encoder == config.encoder
    build_encoder(REGISTRY, again).load_state_dict(encoder.state_dict())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"frames": 3, "fps": 1.0}, "either frames or fps"),
        ({"frames": 0}, "greater than or equal to 1"),
        ({"fps": 0.0}, "greater than 0"),
        ({"window": 0}, "greater than or equal to 1"),
        ({"encoder": {"type": "wavenet"}}, "reads 'series', but 'image' is to be read here"),
        ({"encoder": {"type": "siglip3"}}, "siglip2"),
    ],
)
def test_configurations_that_cannot_work_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        configured(**keys)


def test_frames_are_8_unless_told_otherwise() -> None:
    assert configured().frames == 8
    assert configured(fps=1.0).frames is None
    assert grids_of(configured().typical_length) == ((2, 2),)
