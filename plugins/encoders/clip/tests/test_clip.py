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
from modrwkv_clip.config import CLIPConfig
from modrwkv_clip.encoder import CLIPEncoder
from modrwkv_clip.pretrained import MEAN, STD
from modrwkv_clip.processor import CLIPProcessor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig as UpstreamConfig
from transformers import (
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.testing import EncoderContract

SIZES = {"image_size": 34, "patch_size": 8, "hidden_size": 24, "num_layers": 3, "num_heads": 3, "intermediate_size": 40}


def vision_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        image_size=34,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=40,
        projection_dim=16,
    )


class TestCLIP(EncoderContract):
    plugin = "modrwkv_clip.plugin"
    name = "clip"
    configs = (
        {"init": "scratch", **SIZES},
        {"init": "scratch", **SIZES, "image_size": 16, "layer": "penultimate", "cls": True},
    )
    unreached = frozenset(f"model.encoder.layers.{layer}.self_attn.k_proj.bias" for layer in range(3))
    """Softmax does not see what all keys share."""

    def signals(self, config: CLIPConfig) -> list[Image]:
        return [picture(1, 1), picture(50, 61), picture(1, 100), picture(90, 20, seed=1)]

    def bad_signals(self, config: CLIPConfig) -> list[Image]:
        return [picture(1, 101), picture(3000, 2)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPModel, Path]:
    """A complete model, text tower and projections included, in the layout of the published ones."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("clip")
    text = CLIPTextConfig(
        vocab_size=30, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3
    )
    config = UpstreamConfig(text_config=text.to_dict(), vision_config=vision_config().to_dict(), projection_dim=16)
    model = CLIPModel(config).eval()
    disturb(model)
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]  # the published files still hold these
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(tensors, folder / "model.safetensors")
    upstream_processor(34).save_pretrained(folder)
    return model, folder


def normalized(pixels: torch.Tensor) -> torch.Tensor:
    return normalize_pixels(pixels, MEAN, STD)


def disturb(model: torch.nn.Module) -> None:
    """Move norms away from ones and biases from zeros, so that a swapped one shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def upstream_processor(side: int) -> CLIPImageProcessor:
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


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


def scratch(**values: Any) -> CLIPConfig:
    return CLIPConfig(init="scratch", **(SIZES | values))


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return (torch.linalg.norm(actual - expected) / torch.linalg.norm(expected)).item()


@pytest.mark.parametrize(("layer", "index"), [("penultimate", -2), ("last", -1)])
@pytest.mark.parametrize("cls", [False, True])
def test_features_equal_upstreams_hidden_states(
    published: tuple[CLIPModel, Path], layer: Any, index: int, cls: bool
) -> None:
    model, folder = published
    config = CLIPConfig(checkpoint=str(folder), layer=layer, cls=cls)
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    encoder = CLIPEncoder(config).eval()
    encoder.load_pretrained()
    processor = CLIPProcessor(config)
    items = [processor(picture(50, 61, seed)) for seed in range(3)]
    with torch.no_grad():
        pixels = normalized(torch.stack([item.tensors["pixels"] for item in items]))
        states = model.vision_model(pixel_values=pixels, output_hidden_states=True).hidden_states
        features = encoder(items)
    assert relative_error(features.values, states[index][:, 0 if cls else 1 :]) <= 1e-5
    assert features.values.shape == (3, 16 + cls, config.out_dim)
    assert features.lengths.tolist() == [config.out_length(item.length) for item in items]
    assert len(encoder.model.encoder.layers) == len(states) + index


@pytest.mark.parametrize("kind", [CLIPVisionModel, CLIPVisionModelWithProjection])
def test_a_vision_tower_alone_and_a_bare_file_load_too(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = kind(vision_config()).eval()
    disturb(model)
    model.save_pretrained(tmp_path)
    config = CLIPConfig(checkpoint=str(tmp_path / "model.safetensors"))
    assert config.layer == "penultimate"
    assert not config.cls
    encoder = CLIPEncoder(config).eval()
    encoder.load_pretrained()
    item = CLIPProcessor(config)(picture(40, 40))
    with torch.no_grad():
        expected = model(
            pixel_values=normalized(item.tensors["pixels"])[None], output_hidden_states=True
        ).hidden_states[-2][:, 1:]
        assert relative_error(encoder([item]).values, expected) <= 1e-5


@pytest.mark.parametrize("side", [34, 35])
@pytest.mark.parametrize("size", [(1, 1), (34, 34), (20, 91), (91, 20), (1, 100), (427, 640), (333, 251)])
def test_pixels_equal_the_upstream_processors(side: int, size: tuple[int, int]) -> None:
    upstream, processor = upstream_processor(side), CLIPProcessor(scratch(image_size=side))
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    smooth = np.stack([x * 255 // size[1], y * 255 // size[0], (x + y) * 255 // sum(size)], axis=-1)
    for signal in (picture(*size), Image(smooth.astype(np.uint8))):
        expected = upstream(PIL.Image.fromarray(signal.pixels), return_tensors="pt")["pixel_values"][0]
        item = processor(signal)
        assert item.tensors["pixels"].dtype == torch.uint8
        assert (normalized(item.tensors["pixels"]) - expected).abs().max() <= 1e-5
        assert item.length == 16


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 120), st.integers(1, 120), st.integers(8, 40))
def test_pictures_of_any_size_are_cut_as_upstream_cuts_them(height: int, width: int, side: int) -> None:
    processor = CLIPProcessor(scratch(image_size=side))
    signal = picture(height, width)
    if max(height, width) > 100 * min(height, width):
        with pytest.raises(DataError, match="too long"):
            processor(signal)
    else:
        expected = upstream_processor(side)(PIL.Image.fromarray(signal.pixels), return_tensors="pt")["pixel_values"][0]
        assert (normalized(processor(signal).tensors["pixels"]) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "features", "hidden_size", "projection", "parameters"),
    [
        ("openai/clip-vit-base-patch32", 49, 768, 512, 87.85e6),
        ("openai/clip-vit-base-patch16", 196, 768, 512, 86.19e6),
        ("openai/clip-vit-large-patch14", 256, 1024, 768, 303.97e6),
        ("openai/clip-vit-large-patch14-336", 576, 1024, 768, 304.29e6),
    ],
)
def test_published_sizes_are_known_offline(
    name: str, features: int, hidden_size: int, projection: int, parameters: float
) -> None:
    """The published numbers of parameters count the projection of the pooled vector too."""
    config = CLIPConfig(checkpoint=name, layer="last", cls=True)
    assert config.out_length(config.patches) == config.out_length(config.typical_length) == features + 1
    assert config.out_dim == hidden_size
    with torch.device("meta"):
        encoder = CLIPEncoder(config)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count + projection * hidden_size == pytest.approx(parameters, rel=1e-4)


def test_a_run_needs_the_checkpoint_no_more(published: tuple[CLIPModel, Path], tmp_path: Path) -> None:
    folder = copied(published[1], tmp_path / "moved")
    config = CLIPConfig(checkpoint=folder)
    for file in Path(folder).iterdir():
        file.unlink()
    again = CLIPConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    saved, fresh = CLIPEncoder(config).state_dict(), CLIPEncoder(again)
    fresh.load_state_dict(saved)
    assert all(torch.equal(saved[name], tensor) for name, tensor in fresh.state_dict().items())


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 8), st.booleans(), st.data())
def test_lengths_and_widths_are_those_of_forward(
    grid: int, patch: int, rest: int, cls: bool, data: st.DataObject
) -> None:
    heads = data.draw(st.integers(1, 3))
    config = scratch(
        image_size=grid * patch + min(rest, patch - 1),
        patch_size=patch,
        num_heads=heads,
        hidden_size=4 * heads,
        cls=cls,
    )
    item = CLIPProcessor(config)(picture(3, 5))
    with torch.no_grad():
        features = CLIPEncoder(config)([item])
    assert features.values.shape == (1, config.out_length(item.length), config.out_dim)
    assert item.length == grid * grid


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(
    published: tuple[CLIPModel, Path], tmp_path: Path
) -> None:
    folder = Path(copied(published[1], tmp_path / "damaged"))
    whole = load_file(folder / "model.safetensors")
    name = "vision_model.pre_layrnorm.weight"
    damages = {
        "1 missing: pre_layrnorm.weight": {key: value for key, value in whole.items() if key != name},
        r"pre_layrnorm.weight \[23\] instead of \[24\]": whole | {name: torch.zeros(23)},
        "1 unexpected: extra": whole | {"vision_model.extra": torch.zeros(1)},
        r"1 unexpected: encoder\.layers\.3\.mlp": whole | {"vision_model.encoder.layers.3.mlp": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, folder / "model.safetensors")
        encoder = CLIPEncoder(CLIPConfig(checkpoint=str(folder)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_the_oldest_layout_of_the_configuration_is_read(published: tuple[CLIPModel, Path], tmp_path: Path) -> None:
    folder = published[1]
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    oldest = copied(folder, tmp_path / "oldest", "config.json", vision_config_dict=vision, vision_config={})
    copied(Path(oldest), Path(oldest), "preprocessor_config.json", size=34, crop_size=34)
    assert CLIPConfig(checkpoint=oldest).model_dump(exclude={"checkpoint"}) == CLIPConfig(
        checkpoint=str(folder)
    ).model_dump(exclude={"checkpoint"})


def test_checkpoints_of_another_kind_are_refused(published: tuple[CLIPModel, Path], tmp_path: Path) -> None:
    folder = published[1]
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        "model_type 'siglip', not 'clip'": ("config.json", {"model_type": "siglip"}),
        "hidden_act = 'gelu'": ("config.json", {"vision_config": vision | {"hidden_act": "gelu"}}),
        "num_hidden_layers = 0: Input should be greater than 0": (
            "config.json",
            {"vision_config": vision | {"num_hidden_layers": 0}},
        ),
        r"image_mean = \[0.5, 0.5, 0.5\]": ("preprocessor_config.json", {"image_mean": [0.5] * 3}),
        r"size = \{'shortest_edge': 40\}": ("preprocessor_config.json", {"size": {"shortest_edge": 40}}),
        r"crop_size = 32": ("preprocessor_config.json", {"crop_size": 32}),
        "resample = 2": ("preprocessor_config.json", {"resample": 2}),
    }
    for number, (message, (file, changes)) in enumerate(wrong.items()):
        with pytest.raises(ValidationError, match=message):
            CLIPConfig(checkpoint=copied(folder, tmp_path / str(number), file, **changes))
    (tmp_path / "0" / "config.json").unlink()
    with pytest.raises(ValidationError, match=r"has no config\.json"):
        CLIPConfig(checkpoint=str(tmp_path / "0"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "openai/clip-vit-base-patch32", "init": "scratch"}, "either a checkpoint or init: scratch"),
        ({"init": "scratch", "hidden_size": 10, "num_heads": 3}, "3 heads do not divide the hidden_size 10"),
        ({"init": "scratch", "image_size": 8, "patch_size": 9}, "9 pixels does not fit into an image of 8"),
        ({"init": "scratch", "num_layers": 1, "layer": "penultimate"}, "no penultimate"),
        ({"init": "scratch", "layer": "first"}, "penultimate"),
        ({"init": "scratch", "num_layers": 0}, "greater than 0"),
        ({"init": "scratch", "depth": 3}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CLIPConfig(**values)
