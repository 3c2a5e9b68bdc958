from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_siglip2.config import Siglip2Config
from modrwkv_siglip2.encoder import Siglip2Encoder
from modrwkv_siglip2.pixels import normalized
from modrwkv_siglip2.processor import Siglip2Processor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import (
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.testing import EncoderContract

SIZES = {"image_size": 34, "patch_size": 8, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "intermediate_size": 40}


def vision_config() -> SiglipVisionConfig:
    return SiglipVisionConfig(
        image_size=34,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
    )


class TestSiglip2(EncoderContract):
    plugin = "modrwkv_siglip2.plugin"
    name = "siglip2"
    configs = ({"init": "scratch", **SIZES}, {"init": "scratch", **SIZES, "image_size": 16, "resample": "bicubic"})
    unreached = frozenset(f"model.encoder.layers.{layer}.self_attn.k_proj.bias" for layer in range(2))
    """Softmax does not see what all keys share."""

    def signals(self, config: Siglip2Config) -> list[Image]:
        return [picture(1, 1), picture(50, 61), picture(20, 90, seed=1)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[SiglipModel, Path]:
    """A complete model, text tower and pooling head included, in the layout of the published ones."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("siglip2")
    text = SiglipTextConfig(
        vocab_size=30, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3
    )
    model = SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=vision_config().to_dict())).eval()
    model.save_pretrained(folder)
    SiglipImageProcessor(
        size={"height": 34, "width": 34}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)
    return model, folder


def copied(folder: Path, to: Path, file: str | None = None, **changes: Any) -> str:
    """Copy a checkpoint, with changed top-level keys in one of its JSON files."""
    to.mkdir(exist_ok=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    if file is not None:
        content = json.loads((to / file).read_text())
        (to / file).write_text(json.dumps(content | changes))
    return str(to)


def picture(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def smooth_picture(height: int, width: int) -> Image:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=-1)
    return Image(pixels.astype(np.uint8))


def scratch(**sizes: Any) -> Siglip2Config:
    return Siglip2Config(init="scratch", **(SIZES | sizes))


def test_sizes_and_weights_come_from_the_checkpoint(published: tuple[SiglipModel, Path]) -> None:
    model, folder = published
    config = Siglip2Config(checkpoint=str(folder))
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    assert config.resample == "bilinear"
    encoder = Siglip2Encoder(config).eval()
    encoder.load_pretrained()
    processor = Siglip2Processor(config)
    items = [processor(picture(50, 61, seed)) for seed in range(3)]
    with torch.no_grad():
        pixels = normalized(torch.stack([item.tensors["pixels"] for item in items]))
        expected = model.vision_model(pixel_values=pixels).last_hidden_state
        features = encoder(items)
    assert torch.linalg.norm(features.values - expected) <= 1e-5 * torch.linalg.norm(expected)
    assert features.values.shape == (3, 16, config.out_dim)
    assert features.lengths.tolist() == [config.out_length(item.length) for item in items]


def test_a_vision_tower_alone_and_a_bare_file_load_too(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = SiglipVisionModel(vision_config()).eval()
    model.save_pretrained(tmp_path)
    config = Siglip2Config(checkpoint=str(tmp_path / "model.safetensors"), resample="bilinear")
    encoder = Siglip2Encoder(config).eval()
    encoder.load_pretrained()
    item = Siglip2Processor(config)(picture(40, 40))
    with torch.no_grad():
        expected = model(pixel_values=normalized(item.tensors["pixels"])[None]).last_hidden_state
        assert torch.allclose(encoder([item]).values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("size", [(1, 1), (34, 34), (20, 90), (427, 640)])
def test_pixels_equal_the_upstream_processors(resample: int, size: tuple[int, int]) -> None:
    upstream = SiglipImageProcessor(
        size={"height": 34, "width": 34}, resample=resample, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor = Siglip2Processor(scratch(resample={2: "bilinear", 3: "bicubic"}[resample]))
    for signal in (picture(*size), smooth_picture(*size)):
        expected = upstream(PIL.Image.fromarray(signal.pixels), return_tensors="pt")["pixel_values"][0]
        item = processor(signal)
        assert item.tensors["pixels"].dtype == torch.uint8
        assert (normalized(item.tensors["pixels"]) - expected).abs().max() <= 1e-5
        assert item.length == 16


@pytest.mark.parametrize(
    ("name", "features", "hidden_size", "parameters"),
    [
        ("google/siglip2-base-patch16-384", 576, 768, 86.2e6),
        ("google/siglip2-base-patch32-256", 64, 768, 87.4e6),
        ("google/siglip2-large-patch16-512", 1024, 1024, 304.1e6),
        ("google/siglip2-so400m-patch14-384", 729, 1152, 413.1e6),
        ("google/siglip2-giant-opt-patch16-256", 256, 1536, 1134e6),
    ],
)
def test_published_sizes_are_known_offline(name: str, features: int, hidden_size: int, parameters: float) -> None:
    config = Siglip2Config(checkpoint=name)
    assert config.out_length(config.patches) == config.typical_length == features
    assert config.out_dim == hidden_size
    with torch.device("meta"):
        encoder = Siglip2Encoder(config)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count == pytest.approx(parameters, rel=0.005)


def test_a_run_needs_the_checkpoint_no_more(published: tuple[SiglipModel, Path], tmp_path: Path) -> None:
    folder = copied(published[1], tmp_path / "moved")
    config = Siglip2Config(checkpoint=folder)
    for file in Path(folder).iterdir():
        file.unlink()
    again = Siglip2Config.model_validate(config.model_dump(mode="json"))
    assert again == config
    saved, fresh = Siglip2Encoder(config).state_dict(), Siglip2Encoder(again)
    fresh.load_state_dict(saved)
    assert all(torch.equal(saved[name], tensor) for name, tensor in fresh.state_dict().items())


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 8), st.data())
def test_lengths_and_widths_are_those_of_forward(grid: int, patch: int, rest: int, data: st.DataObject) -> None:
    heads = data.draw(st.integers(1, 3))
    config = scratch(
        image_size=grid * patch + min(rest, patch - 1), patch_size=patch, num_heads=heads, hidden_size=4 * heads
    )
    item = Siglip2Processor(config)(picture(3, 5))
    with torch.no_grad():
        features = Siglip2Encoder(config)([item])
    assert features.values.shape == (1, config.out_length(item.length), config.out_dim)
    assert item.length == grid * grid


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(
    published: tuple[SiglipModel, Path], tmp_path: Path
) -> None:
    folder = Path(copied(published[1], tmp_path / "damaged"))
    whole = load_file(folder / "model.safetensors")
    name = "vision_model.post_layernorm.weight"
    damages = {
        "1 missing: post_layernorm.weight": {key: value for key, value in whole.items() if key != name},
        r"post_layernorm.weight \[23\] instead of \[24\]": whole | {name: torch.zeros(23)},
        "1 unexpected: extra": whole | {"vision_model.extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, folder / "model.safetensors")
        encoder = Siglip2Encoder(Siglip2Config(checkpoint=str(folder)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(published: tuple[SiglipModel, Path], tmp_path: Path) -> None:
    folder = published[1]
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        r"model_type 'siglip2', not 'siglip' or .*\s.*type: siglip2_naflex": ("config.json", {"model_type": "siglip2"}),
        "model_type 'clip', not 'siglip'": ("config.json", {"model_type": "clip"}),
        "hidden_act = 'relu'": ("config.json", {"vision_config": vision | {"hidden_act": "relu"}}),
        r"image_size = \[34, 34\]: Input should be a valid integer": (
            "config.json",
            {"vision_config": vision | {"image_size": [34, 34]}},
        ),
        r"image_mean = \[0.4, 0.4, 0.4\]": ("preprocessor_config.json", {"image_mean": [0.4] * 3}),
        "resample = 0, not one of 2, 3": ("preprocessor_config.json", {"resample": 0}),
    }
    for number, (message, (file, changes)) in enumerate(wrong.items()):
        with pytest.raises(ValidationError, match=message):
            Siglip2Config(checkpoint=copied(folder, tmp_path / str(number), file, **changes))
    (tmp_path / "0" / "config.json").unlink()
    with pytest.raises(ValidationError, match=r"has no config\.json"):
        Siglip2Config(checkpoint=str(tmp_path / "0"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "google/siglip2-base-patch16-naflex"}, "use type: siglip2_naflex"),
        ({"checkpoint": "google/siglip2-base-patch16-384", "init": "scratch"}, "either a checkpoint or init: scratch"),
        ({"init": "scratch", "hidden_size": 10, "num_heads": 3}, "3 heads do not divide the hidden_size 10"),
        ({"init": "scratch", "image_size": 8, "patch_size": 9}, "9 pixels does not fit into an image of 8"),
        ({"init": "scratch", "num_layers": 0}, "greater than 0"),
        ({"init": "scratch", "depth": 3}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Siglip2Config(**values)
