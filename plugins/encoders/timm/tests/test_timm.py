from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import timm
import torch
from click.testing import CliRunner
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from modrwkv_timm.config import TimmConfig
from modrwkv_timm.encoder import TimmEncoder
from modrwkv_timm.processor import TimmProcessor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_model_data_config

from modrwkv_core.cli.plugins import info
from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.testing import EncoderContract

VIT: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3}
FAMILIES: dict[str, tuple[str, dict[str, Any], int]] = {
    "vit": ("vit_tiny_patch16_224", VIT, 32),
    "dinov2": ("vit_small_patch14_reg4_dinov2", VIT, 28),
    "dinov3": ("vit_small_patch16_dinov3", VIT, 32),
    "siglip": ("vit_base_patch16_siglip_224", VIT, 32),
    "convnext": ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 12, 16, 24]}, 64),
    "fastvit": ("fastvit_t8", {"layers": [1, 1, 1, 1], "embed_dims": [16, 32, 64, 128]}, 64),
    "mobileclip": ("fastvit_mci0", {"layers": [1, 1, 1, 1], "embed_dims": [16, 32, 64, 128]}, 64),
    "eva": ("eva02_tiny_patch14_224", VIT, 28),
    "sam": ("samvit_base_patch16", VIT | {"global_attn_indexes": [1], "window_size": 2, "neck_chans": 20}, 64),
    "efficientnet": ("test_efficientnet", {}, 64),
    "swin": ("swin_tiny_patch4_window7_224", {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 3]}, 56),
    "resnet": ("test_resnet", {}, 64),
}


def scratch(family: str, **values: Any) -> TimmConfig:
    name, arguments, size = FAMILIES[family]
    return TimmConfig(**({"init": "scratch", "model": name, "model_args": arguments, "image_size": size} | values))


def upstream(family: str, **arguments: Any) -> Any:
    """Make timm's own model, whose every parameter and running average matters."""
    name, own, size = FAMILIES[family]
    known = timm.models.get_pretrained_cfg(name)
    sized = {"img_size": size} if known is not None and known.fixed_input_size else {}
    torch.manual_seed(1)
    model = timm.create_model(name, pretrained=False, **(sized | own | arguments)).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
    return model


def picture(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def published(family: str, folder: Path, **arguments: Any) -> Any:
    """Save a model as timm saves it for the hub."""
    model = upstream(family, **arguments)
    name, own, _ = FAMILIES[family]
    cfg = {
        key: value
        for key, value in model.pretrained_cfg.items()
        if key
        in (
            "input_size",
            "mean",
            "std",
            "fixed_input_size",
            "interpolation",
            "crop_pct",
            "crop_mode",
            "num_classes",
            "classifier",
        )
    }
    timm.models._hub.save_config_for_hf(model, folder / "config.json", model_config=cfg, model_args=own | arguments)
    assert json.loads((folder / "config.json").read_text())["architecture"] == name
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    return model


class TestTimm(EncoderContract):
    plugin = "modrwkv_timm.plugin"
    name = "timm"
    configs = (
        *(
            {"init": "scratch", "model": name, "model_args": arguments, "image_size": size}
            for name, arguments, size in (FAMILIES[family] for family in ("dinov2", "convnext", "sam"))
        ),
        {
            "init": "scratch",
            "model": "vit_tiny_patch16_224",
            "model_args": VIT,
            "image_size": 32,
            "blocks": [-2, -1],
            "keep_prefix_tokens": True,
        },
    )

    def signals(self, config: TimmConfig) -> list[Image]:
        return [picture(9, 9), picture(50, 61), picture(90, 20, seed=1)]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_features_are_those_of_timm(family: str, tmp_path: Path) -> None:
    model = published(family, tmp_path)
    config = TimmConfig(checkpoint=str(tmp_path), image_size=FAMILIES[family][2])
    encoder = TimmEncoder(config).eval()
    encoder.load_pretrained()
    processor = TimmProcessor(config)
    items = [processor(picture(50, 61, seed)) for seed in range(2)]
    transform = create_transform(**(resolve_model_data_config(model) | {"input_size": (3, *[FAMILIES[family][2]] * 2)}))
    pixels = torch.stack([transform(PIL.Image.fromarray(picture(50, 61, seed).pixels)) for seed in range(2)])
    expected = model.forward_features(pixels)
    if expected.dim() == 4:
        nhwc = getattr(model, "output_fmt", "NCHW") == "NHWC"
        expected = expected.flatten(1, 2) if nhwc else expected.flatten(2).transpose(1, 2)
    else:
        expected = expected[:, model.num_prefix_tokens :]
    actual = encoder(items).values
    assert actual.shape == expected.shape == (2, config.out_length(config.typical_length), config.out_dim)
    assert torch.linalg.norm(actual - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("family", ["vit", "dinov3", "eva"])
@torch.no_grad()
def test_blocks_and_prefix_tokens_are_those_of_timm(family: str, tmp_path: Path) -> None:
    model = published(family, tmp_path, depth=3)
    config = TimmConfig(
        checkpoint=str(tmp_path), image_size=FAMILIES[family][2], blocks=(0, -2), keep_prefix_tokens=True
    )
    encoder = TimmEncoder(config).eval()
    encoder.load_pretrained()
    item = TimmProcessor(config)(picture(40, 40))
    pixels = normalize_pixels(item.tensors["pixels"][None], config.mean or (), config.std or ())
    hidden = []
    handles = [model.blocks[i].register_forward_hook(lambda _m, _a, out: hidden.append(out)) for i in (0, 1)]
    model.forward_features(pixels)
    for handle in handles:
        handle.remove()
    expected = torch.cat(hidden, dim=2)
    actual = encoder([item]).values
    assert torch.linalg.norm(actual - expected) <= 1e-5 * torch.linalg.norm(expected)
    assert config.out_dim == 48
    assert not any(name.startswith(("blocks.2", "norm", "head")) for name, _ in encoder.model.named_parameters())


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), percent=st.sampled_from([0.875, 0.9, 1.0]))
@example(height=32, width=32, percent=1.0)
def test_pixels_equal_timms_transform(mode: Any, interpolation: Any, height: int, width: int, percent: float) -> None:
    config = scratch("vit", crop_mode=mode, interpolation=interpolation, crop_pct=percent)
    transform = create_transform(
        input_size=32, mean=config.mean, std=config.std, interpolation=interpolation, crop_pct=percent, crop_mode=mode
    )
    assume(mode != "border" or max(height, width) <= 32 * min(height, width))
    signal = picture(height, width)
    item = TimmProcessor(config)(signal)
    assert item.tensors["pixels"].dtype == torch.uint8
    actual = normalize_pixels(item.tensors["pixels"], config.mean or (), config.std or ())
    assert (actual - transform(PIL.Image.fromarray(signal.pixels))).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "features", "hidden_size", "size", "mean"),
    [
        ("timm/vit_small_patch14_dinov2.lvd142m", 1369, 384, 518, 0.485),
        ("timm/vit_small_patch16_dinov3.lvd1689m", 256, 384, 256, 0.485),
        ("timm/samvit_base_patch16.sa1b", 4096, 256, 1024, 0.485),
        ("timm/vit_base_patch16_siglip_384.v2_webli", 576, 768, 384, 0.5),
        ("timm/convnext_tiny.in12k", 49, 768, 224, 0.485),
        ("timm/fastvit_mci0.apple_mclip", 64, 1024, 256, 0.0),
        ("timm/eva02_tiny_patch14_224.mim_in22k", 256, 192, 224, 0.48145466),
        ("timm/efficientnet_b0.ra_in1k", 49, 1280, 224, 0.485),
    ],
)
def test_published_models_are_known_offline(name: str, features: int, hidden_size: int, size: int, mean: float) -> None:
    config = TimmConfig(checkpoint=name)
    assert config.model == name.removeprefix("timm/")
    assert config.out_length(config.typical_length) == config.typical_length == features
    assert (config.out_dim, config.image_size, config.mean and config.mean[0]) == (hidden_size, size, mean)


@torch.no_grad()
def test_positions_of_another_size_are_resized_as_timm_does(tmp_path: Path) -> None:
    published("vit", tmp_path)
    config = TimmConfig(checkpoint=str(tmp_path), image_size=64)
    encoder = TimmEncoder(config).eval()
    encoder.load_pretrained()
    tensors = load_file(tmp_path / "model.safetensors")
    larger = timm.create_model("vit_tiny_patch16_224", img_size=64, **VIT).eval()
    larger.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(tensors, larger))
    pixels = torch.randn(1, 3, 64, 64)
    expected = larger.forward_features(pixels)[:, 1:]
    assert torch.allclose(encoder.model.forward_features(pixels)[:, 1:], expected, rtol=0, atol=1e-5)


def test_a_weight_file_alone_needs_the_models_name(tmp_path: Path) -> None:
    published("convnext", tmp_path)
    (tmp_path / "config.json").unlink()
    file = str(tmp_path / "model.safetensors")
    with pytest.raises(ValidationError, match=r"has no config\.json"):
        TimmConfig(checkpoint=file)
    name, arguments, size = FAMILIES["convnext"]
    encoder = TimmEncoder(TimmConfig(checkpoint=file, model=name, model_args=arguments, image_size=size))
    encoder.load_pretrained()
    saved = load_file(file)
    assert all(torch.equal(saved[key], value) for key, value in encoder.model.state_dict().items())
    assert encoder.pretrained_files() == (Path(file),)


def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path) -> None:
    published("dinov2", tmp_path)
    config = TimmConfig(checkpoint=str(tmp_path), image_size=28)
    for file in tmp_path.iterdir():
        file.unlink()
    assert TimmConfig.model_validate(config.model_dump(mode="json")) == config == config.resolved()


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path: Path) -> None:
    published("convnext", tmp_path)
    with pytest.raises(ValidationError, match=r"is of 'convnext_atto', not of 'vit_tiny_patch16_224'"):
        TimmConfig(checkpoint=str(tmp_path), model="vit_tiny_patch16_224")
    (tmp_path / "config.json").unlink()
    file = str(tmp_path / "model.safetensors")
    for family in ("vit", "efficientnet", "sam", "dinov3"):
        name, arguments, size = FAMILIES[family]
        encoder = TimmEncoder(TimmConfig(checkpoint=file, model=name, model_args=arguments, image_size=size))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=r"missing|is not one of"):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    published("vit", tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    damages = {
        r"1 missing: norm\.weight": {key: value for key, value in whole.items() if key != "norm.weight"},
        r"norm\.weight \[23\] instead of \[24\]": whole | {"norm.weight": torch.zeros(23)},
        "1 unexpected: extra": whole | {"extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, tmp_path / "model.safetensors")
        encoder = TimmEncoder(TimmConfig(checkpoint=str(tmp_path), image_size=32))
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"init": "scratch"}, "needs `model`"),
        ({"init": "scratch", "model": "vit_smal_patch14_dinov2"}, "no model .*\n.*did you mean .*vit_small_patch14"),
        ({"init": "scratch", "model": "vit_small_patch14_dinov2.nonsense"}, "did you mean .*lvd142m"),
        ({"checkpoint": "timm/convnext_tinny"}, "convnext_tin"),
        ({"init": "scratch", "model": "convnext_atto", "keep_prefix_tokens": True}, "no class or register tokens"),
        ({"init": "scratch", "model": "convnext_atto", "blocks": [1, 2]}, "different grids: 28 x 28, 14 x 14"),
        ({"init": "scratch", "model": "vit_tiny_patch16_224", "blocks": [12]}, "gives no features of the blocks"),
        ({"init": "scratch", "model": "vit_tiny_patch16_224", "model_args": {"width": 3}}, "cannot build .*width"),
        ({"init": "scratch", "model": "vit_tiny_patch16_224", "hidden_size": 7}, "hidden_size is 7 .* but 192"),
        ({"init": "scratch", "model": "crossvit_9_240"}, "gives no grid of features"),
        ({"init": "scratch", "model": "vit_tiny_patch16_224", "depth": 3}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimmConfig(**values)


def test_long_pictures_are_refused_where_they_are_cropped() -> None:
    with pytest.raises(DataError, match="100 times as long"):
        TimmProcessor(scratch("vit"))(picture(1, 20_000))
    assert TimmProcessor(scratch("vit", crop_mode="squash"))(picture(1, 20_000)).length == 4


def test_all_names_are_listed() -> None:
    listed = CliRunner().invoke(info, ["timm", "--list"], catch_exceptions=False).output.splitlines()
    assert len(listed) > 1000
    assert set(timm.list_pretrained()) <= set(listed)
    assert "vit_small_patch14_dinov2.lvd142m" in listed
