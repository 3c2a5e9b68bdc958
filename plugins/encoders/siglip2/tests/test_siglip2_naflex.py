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
from modrwkv_siglip2.naflex.config import Siglip2NaflexConfig
from modrwkv_siglip2.naflex.encoder import Siglip2NaflexEncoder
from modrwkv_siglip2.naflex.processor import Siglip2NaflexProcessor, patch_grid
from modrwkv_siglip2.pixels import normalized
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import (
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2TextConfig,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)
from transformers.models.siglip2.image_processing_siglip2 import get_image_size_for_max_num_patches

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.testing import EncoderContract

SIZES = {"patch_size": 4, "positions": 9, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "intermediate_size": 40}
PICTURES = [(1, 1), (50, 61), (20, 90), (90, 20), (300, 8)]


def vision_config() -> Siglip2VisionConfig:
    return Siglip2VisionConfig(
        num_patches=9,
        patch_size=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
    )


class TestSiglip2Naflex(EncoderContract):
    plugin = "modrwkv_siglip2.plugin"
    name = "siglip2_naflex"
    configs = (
        {"init": "scratch", **SIZES, "max_patches": 20},
        {"init": "scratch", **SIZES, "max_patches": 7, "resample": "bicubic"},
    )
    unreached = frozenset(f"model.encoder.layers.{layer}.self_attn.k_proj.bias" for layer in range(2))
    """Softmax does not see what all keys share."""

    def signals(self, config: Siglip2NaflexConfig) -> list[Image]:
        return [picture(*size, seed) for seed, size in enumerate(PICTURES)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Siglip2Model, Path]:
    """A complete model, text tower and pooling head included, in the layout of the published ones."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("naflex")
    text = Siglip2TextConfig(
        vocab_size=30, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3
    )
    model = Siglip2Model(Siglip2Config(text_config=text.to_dict(), vision_config=vision_config().to_dict())).eval()
    disturb(model)
    model.save_pretrained(folder)
    Siglip2ImageProcessor(patch_size=4, max_num_patches=20).save_pretrained(folder)
    return model, folder


def disturb(model: torch.nn.Module) -> None:
    """Move norms away from ones and biases from zeros, so that a swapped one shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


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


def scratch(**values: Any) -> Siglip2NaflexConfig:
    return Siglip2NaflexConfig(init="scratch", **({"max_patches": 20} | SIZES | values))


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return (torch.linalg.norm(actual - expected) / torch.linalg.norm(expected)).item()


@pytest.mark.parametrize("alone", [False, True])
def test_features_equal_upstreams_for_every_aspect_ratio(published: tuple[Siglip2Model, Path], alone: bool) -> None:
    """From images to features; upstream pads each image to the largest number of patches."""
    model, folder = published
    config = Siglip2NaflexConfig(checkpoint=str(folder))
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    assert (config.max_patches, config.resample) == (20, "bilinear")
    encoder = Siglip2NaflexEncoder(config).eval()
    encoder.load_pretrained()
    processor, upstream = Siglip2NaflexProcessor(config), Siglip2ImageProcessor.from_pretrained(folder)
    for sizes in [[size] for size in PICTURES] if alone else [PICTURES]:
        pictures = [picture(*size, seed) for seed, size in enumerate(sizes)]
        inputs = upstream([PIL.Image.fromarray(signal.pixels) for signal in pictures], return_tensors="pt")
        items = [processor(signal) for signal in pictures]
        with torch.no_grad():
            expected = model.vision_model(**inputs).last_hidden_state
            features = encoder(items)
        counts = inputs["pixel_attention_mask"].sum(dim=1).tolist()
        assert features.lengths.tolist() == [config.out_length(item.length) for item in items] == counts
        assert features.values.shape == (len(sizes), max(counts), config.out_dim)
        for row, count in enumerate(counts):
            assert relative_error(features.values[row, :count], expected[row, :count]) <= 1e-5
            assert not features.values[row, count:].any()


def test_a_vision_tower_alone_and_a_bare_file_load_too(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = Siglip2VisionModel(vision_config()).eval()
    disturb(model)
    model.save_pretrained(tmp_path)
    config = Siglip2NaflexConfig(checkpoint=str(tmp_path / "model.safetensors"), resample="bilinear", max_patches=12)
    encoder = Siglip2NaflexEncoder(config).eval()
    encoder.load_pretrained()
    item = Siglip2NaflexProcessor(config)(picture(30, 40))
    with torch.no_grad():
        expected = model(
            pixel_values=normalized(item.tensors["patches"])[None],
            pixel_attention_mask=torch.ones(1, item.length),
            spatial_shapes=item.tensors["grid"][None],
        ).last_hidden_state
        assert relative_error(encoder([item]).values, expected) <= 1e-5


@pytest.mark.parametrize("resample", [2, 3])
@pytest.mark.parametrize("size", [*PICTURES, (427, 640), (2, 900)])
def test_patches_equal_the_upstream_processors(resample: int, size: tuple[int, int]) -> None:
    upstream = Siglip2ImageProcessor(patch_size=16, max_num_patches=64, resample=resample)
    processor = Siglip2NaflexProcessor(
        scratch(resample={2: "bilinear", 3: "bicubic"}[resample], patch_size=16, max_patches=64)
    )
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    smooth = np.stack([x * 255 // size[1], y * 255 // size[0], (x + y) * 255 // sum(size)], axis=-1)
    for signal in (picture(*size), Image(smooth.astype(np.uint8))):
        expected = upstream(PIL.Image.fromarray(signal.pixels), return_tensors="pt")
        item = processor(signal)
        patches, grid = item.tensors["patches"], item.tensors["grid"]
        assert patches.dtype == torch.uint8
        assert grid.tolist() == expected["spatial_shapes"][0].tolist()
        assert len(patches) == item.length == grid.prod() == expected["pixel_attention_mask"].sum()
        assert (normalized(patches) - expected["pixel_values"][0, : item.length]).abs().max() <= 1e-5


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 32), st.integers(1, 1024))
def test_grids_are_upstreams(height: int, width: int, patch_size: int, max_patches: int) -> None:
    rows, columns = patch_grid(height, width, patch_size, max_patches)
    expected = get_image_size_for_max_num_patches(height, width, patch_size, max_patches)
    assert (rows * patch_size, columns * patch_size) == expected
    assert 1 <= rows * columns <= max_patches


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 30), st.integers(1, 4))
def test_lengths_are_those_of_forward(height: int, width: int, patch: int, most: int, side: int) -> None:
    config = scratch(patch_size=patch, max_patches=most, positions=side * side, hidden_size=6, num_layers=1)
    item = Siglip2NaflexProcessor(config)(picture(height, width))
    with torch.no_grad():
        features = Siglip2NaflexEncoder(config)([item])
    assert features.values.shape == (1, config.out_length(item.length), config.out_dim)
    assert features.lengths.tolist() == [item.length]
    assert item.length <= config.typical_length == most


@pytest.mark.parametrize(
    ("name", "hidden_size", "parameters"),
    [
        ("google/siglip2-base-patch16-naflex", 768, 85.8e6),
        ("google/siglip2-so400m-patch16-naflex", 1152, 412.5e6),
    ],
)
def test_published_sizes_are_known_offline(name: str, hidden_size: int, parameters: float) -> None:
    config = Siglip2NaflexConfig(checkpoint=name)
    assert (config.max_patches, config.positions, config.patch_size, config.out_dim) == (256, 256, 16, hidden_size)
    with torch.device("meta"):
        encoder = Siglip2NaflexEncoder(config)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count == pytest.approx(parameters, rel=0.005)


def test_a_run_needs_the_checkpoint_no_more(published: tuple[Siglip2Model, Path], tmp_path: Path) -> None:
    folder = copied(published[1], tmp_path / "moved")
    config = Siglip2NaflexConfig(checkpoint=folder)
    for file in Path(folder).iterdir():
        file.unlink()
    again = Siglip2NaflexConfig.model_validate(config.model_dump(mode="json"))
    assert again == config


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(
    published: tuple[Siglip2Model, Path], tmp_path: Path
) -> None:
    folder = Path(copied(published[1], tmp_path / "damaged"))
    whole = load_file(folder / "model.safetensors")
    name = "vision_model.embeddings.position_embedding.weight"
    damages = {
        "1 missing: embeddings.position_embedding.weight": {key: whole[key] for key in whole if key != name},
        r"position_embedding.weight \[16, 24\] instead of \[9, 24\]": whole | {name: torch.zeros(16, 24)},
        "1 unexpected: extra": whole | {"vision_model.extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, folder / "model.safetensors")
        encoder = Siglip2NaflexEncoder(Siglip2NaflexConfig(checkpoint=str(folder)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(published: tuple[Siglip2Model, Path], tmp_path: Path) -> None:
    folder = published[1]
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    wrong: dict[str, tuple[str, dict[str, Any]]] = {
        r"model_type 'siglip', not 'siglip2' or .*\s.*type: siglip2\b": ("config.json", {"model_type": "siglip"}),
        "hidden_act = 'relu'": ("config.json", {"vision_config": vision | {"hidden_act": "relu"}}),
        "num_patches = 0: Input should be gr": ("config.json", {"vision_config": vision | {"num_patches": 0}}),
        r"image_mean = \[0.4, 0.4, 0.4\]": ("preprocessor_config.json", {"image_mean": [0.4] * 3}),
        "max_num_patches = None": ("preprocessor_config.json", {"max_num_patches": None}),
    }
    for number, (message, (file, changes)) in enumerate(wrong.items()):
        with pytest.raises(ValidationError, match=message):
            Siglip2NaflexConfig(checkpoint=copied(folder, tmp_path / str(number), file, **changes))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "google/siglip2-base-patch16-384"}, "use type: siglip2"),
        ({"init": "scratch", "hidden_size": 10, "num_heads": 3}, "3 heads do not divide the hidden_size 10"),
        ({"init": "scratch", "positions": 8}, "8 positions are not those of a square"),
        ({"init": "scratch", "max_patches": 0}, "greater than 0"),
        ({"init": "scratch", "image_size": 384}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Siglip2NaflexConfig(**values)
