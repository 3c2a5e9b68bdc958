from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from modrwkv_fusion.encoder import FusionEncoder
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.grids import GridLength, grids_of
from modrwkv_core.interfaces.signals import Image, Waveform
from modrwkv_core.manifest.unions import Components
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.registry import discover
from modrwkv_core.testing import EncoderContract

SIZES = {"init": "scratch", "num_layers": 1, "num_heads": 2, "intermediate_size": 16}
SIGLIP = {"type": "siglip2", **SIZES, "image_size": 24, "patch_size": 8, "hidden_size": 12}
FINE = {"type": "siglip2", **SIZES, "image_size": 20, "patch_size": 4, "hidden_size": 8}
CLIP = {"type": "clip", **SIZES, "image_size": 16, "patch_size": 8, "hidden_size": 12}
DINO = {
    "type": "timm",
    "init": "scratch",
    "model": "vit_small_patch14_dinov2",
    "image_size": 56,
    "model_args": {"embed_dim": 24, "depth": 2, "num_heads": 3},
}
NAFLEX = {"type": "siglip2_naflex", **SIZES, "max_patches": 12, "patch_size": 4, "positions": 4, "hidden_size": 8}
WAVLM = {
    "type": "wavlm",
    "init": "scratch",
    "rate": 16_000,
    "normalize": True,
    "conv_dim": (12, 12, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "conv_bias": False,
    "conv_norm": "group",
    "hidden_size": 24,
    "num_layers": 1,
    "num_heads": 3,
    "intermediate_size": 40,
    "norm_first": False,
    "position_kernel": 8,
    "position_groups": 2,
    "buckets": 16,
    "max_distance": 20,
}
WHISPER = {"type": "whisper", **SIZES, "hidden_size": 12, "mel_bins": 20, "window": 25}
K_BIAS = "encoder.layers.0.self_attn.k_proj.bias"


def configured(settings: Mapping[str, Any]) -> Any:
    registry = discover()
    config_class = registry.config_class("encoder", settings["type"])
    return config_class.model_validate(dict(settings), context={"components": Components(registry)})


def fusion(**settings: Any) -> Any:
    return configured({"type": "fusion", **settings})


def built(config: EncoderConfig) -> tuple[Any, Any]:
    torch.manual_seed(0)
    registry = discover()
    return build_encoder(registry, config).eval(), build_processor(registry, config)


def picture(height: int = 50, width: int = 61, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def sound(samples: int, seed: int = 0) -> Waveform:
    return Waveform(np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32), 16_000)


class TestFusion(EncoderContract):
    plugin = "modrwkv_fusion.plugin"
    name = "fusion"
    configs = (
        {"towers": {"a": SIGLIP, "b": FINE, "c": DINO}},
        {"towers": {"a": SIGLIP, "b": CLIP}, "join": "length"},
        {"towers": {"a": SIGLIP, "b": NAFLEX}, "align": "sequence", "reference": "b"},
    )
    unreached = frozenset(f"towers.{tower}.model.{K_BIAS}" for tower in "abc")
    """Softmax does not see what all keys share."""


class TestAudioFusion(EncoderContract):
    plugin = "modrwkv_fusion.plugin"
    name = "audio_fusion"
    configs = (
        {"towers": {"a": WAVLM, "b": WHISPER}},
        {"towers": {"a": WHISPER, "b": {**WHISPER, "window": 30}}, "join": "length"},
    )

    def signals(self, config: Any) -> list[Waveform]:
        return [sound(800), sound(5000, seed=1), sound(8100, seed=2)]


def alone(encoder: FusionEncoder, config: Any, signal: Any) -> dict[str, Tensor]:
    """Run each tower by itself, without fusion."""
    return {
        name: encoder.towers[name]([build_processor(discover(), tower)(signal)]).values[0]
        for name, tower in config.towers.items()
    }


@torch.no_grad()
def test_each_place_holds_what_the_towers_see_there() -> None:
    config = fusion(towers={"a": SIGLIP, "b": FINE, "c": CLIP})
    encoder, processor = built(config)
    features = encoder([processor(picture())])
    towers = alone(encoder, config, picture())
    fine = F.adaptive_avg_pool2d(towers["b"].T.reshape(8, 5, 5), 3).reshape(8, 9).T
    coarse = F.interpolate(towers["c"].T.reshape(1, 12, 2, 2), (3, 3), mode="bilinear").reshape(12, 9).T
    expected = torch.cat([towers["a"], fine, coarse], dim=1)
    assert features.values.shape == (1, 9, config.out_dim) == (1, config.typical_length, 32)
    assert torch.allclose(features.values[0], expected, rtol=0, atol=1e-6)


def test_a_place_of_the_fused_grid_lies_where_it_lies_in_the_picture() -> None:
    """An interpolated ramp is still the same ramp: rows and columns are not mixed up, nor is the picture shifted."""
    config = fusion(towers={"a": SIGLIP, "b": FINE})
    encoder, _ = built(config)
    for side, mode in ((12, "finer"), (2, "coarser")):
        centers = (torch.arange(side) + 0.5) / side
        ramp = torch.stack([centers.repeat_interleave(side), centers.repeat(side)], dim=1)
        counts = {"a": GridLength((3, 3)), "b": GridLength((side, side))}
        aligned = encoder._aligned("b", ramp, counts).unflatten(0, (3, 3))
        assert torch.allclose(aligned[1, 1], torch.tensor([0.5, 0.5]), atol=1e-6), mode
        assert (aligned[2, :, 0] > aligned[0, :, 0]).all(), mode
        assert (aligned[:, 2, 1] > aligned[:, 0, 1]).all(), mode


@torch.no_grad()
def test_in_length_towers_follow_each_other() -> None:
    config = fusion(towers={"a": SIGLIP, "b": CLIP}, join="length")
    encoder, processor = built(config)
    features = encoder([processor(picture())])
    towers = alone(encoder, config, picture())
    assert torch.equal(features.values[0], torch.cat([towers["a"], towers["b"]]))
    assert config.typical_length == 13


@torch.no_grad()
def test_recordings_of_uneven_length_align_one_by_one() -> None:
    config = configured({"type": "audio_fusion", "towers": {"a": WAVLM, "b": WHISPER}})
    encoder, processor = built(config)
    signals = [sound(900), sound(5000, seed=1)]
    features = encoder([processor(signal) for signal in signals])
    for signal, values, length in zip(signals, features.values, features.lengths.tolist(), strict=True):
        towers = alone(encoder, config, signal)
        assert length == len(towers["a"])
        mode = "area" if len(towers["b"]) > length else "linear"
        other = F.interpolate(towers["b"].T[None], size=length, mode=mode)[0].T
        assert torch.allclose(values[:length], torch.cat([towers["a"], other], dim=1), rtol=0, atol=1e-5)


def test_a_fusion_is_a_tower_itself() -> None:
    inner = {"type": "fusion", "towers": {"x": SIGLIP, "y": CLIP}}
    config = fusion(towers={"a": FINE, "b": inner})
    encoder, processor = built(config)
    assert encoder([processor(picture())]).values.shape == (1, 25, 8 + 24)
    assert configured(config.model_dump(mode="json")) == config == config.resolved()


def test_two_towers_cost_no_more_operations_than_the_sum_of_both() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    config = fusion(towers={"a": SIGLIP, "b": FINE})
    encoder, processor = built(config)
    with torch.no_grad(), FlopCounterMode(display=False) as fused:
        encoder([processor(picture())])
    with torch.no_grad(), FlopCounterMode(display=False) as separate:
        alone(encoder, config, picture())
    assert 0 < fused.get_total_flops() <= separate.get_total_flops()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"towers": {"a": SIGLIP}}, "at least two towers, not a"),
        ({"towers": {}}, "at least two towers, not none"),
        ({"towers": {"a": SIGLIP, "b": FINE}, "join": "length"}, "a has 12, b has 8"),
        ({"towers": {"a": SIGLIP, "b": FINE}, "reference": "c"}, "'c' is not one of the towers a, b"),
        ({"towers": {"a": SIGLIP, "b": {**CLIP, "cls": True}}}, "5 features of b are not one grid; use align"),
        ({"towers": {"a": SIGLIP, "b": WHISPER}}, "reads 'audio', but 'image' is to be read here"),
        ({"towers": {"a": SIGLIP, "b": {"type": "siglip3"}}}, "siglip3"),
        ({"towers": {"a": SIGLIP, "A-b": FINE}}, "should match pattern"),
        ({"towers": {"a": SIGLIP, "b": FINE}, "dim": 3}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        fusion(**settings)


@pytest.mark.parametrize(("height", "width"), [(40, 90), (90, 20), (30, 30)])
@torch.no_grad()
def test_native_resolution_is_brought_to_the_reference(height: int, width: int) -> None:
    """A grid that is broader but lower than the other shrinks in one direction and grows in the other."""
    config = fusion(towers={"a": SIGLIP, "b": {**NAFLEX, "max_patches": 16}})
    encoder, processor = built(config)
    signal = picture(height, width)
    item = processor(signal)
    towers = alone(encoder, config, signal)
    [grid] = grids_of(build_processor(discover(), config.towers["b"])(signal).length) or ()
    native = towers["b"].T.reshape(8, *grid).numpy()

    def line(values: Any, wanted: int) -> Any:
        """Bring the last axis to another length: means of areas, or straight lines between centers."""
        count = values.shape[-1]
        if wanted <= count:
            edges = [(place * count // wanted, -(-(place + 1) * count // wanted)) for place in range(wanted)]
            return np.stack([values[..., begin:end].mean(axis=-1) for begin, end in edges], axis=-1)
        centers = (np.arange(wanted) + 0.5) * count / wanted - 0.5
        return np.apply_along_axis(lambda each: np.interp(centers, np.arange(count), each), -1, values)

    expected = line(line(native, 3).swapaxes(1, 2), 3).swapaxes(1, 2).reshape(8, 9).T
    found = encoder([item]).values[0]
    assert grids_of(item.length) == ((3, 3),)
    np.testing.assert_allclose(found[:, 12:].numpy(), expected, rtol=0, atol=1e-5)
    assert torch.allclose(found[:, :12], towers["a"], atol=1e-6)


def test_native_resolution_can_be_the_reference() -> None:
    config = fusion(towers={"a": SIGLIP, "b": {**NAFLEX, "max_patches": 16}}, reference="b")
    encoder, processor = built(config)
    items = [processor(picture(40, 90)), processor(picture(30, 30))]
    grids = [grids_of(item.length) for item in items]
    assert grids == [((3, 5),), ((4, 4),)]
    assert encoder(items).lengths.tolist() == [15, 16]


def test_a_tower_has_no_name_of_a_method() -> None:
    config = fusion(towers={"a": SIGLIP, "pop": FINE})
    with pytest.raises(ComponentError, match="cannot be called 'pop'"):
        built(config)
