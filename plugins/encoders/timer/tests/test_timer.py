from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_timer.config import TimerConfig
from modrwkv_timer.encoder import TimerEncoder
from modrwkv_timer.processor import TimerProcessor
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.testing import EncoderContract

SIZES: dict[str, Any] = {"patch": 12, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "intermediate_size": 40}

Array = NDArray[np.float64]


def walk(points: int, channels: int = 1, seed: int = 0) -> TimeSeries:
    steps = np.random.default_rng(seed).normal(size=(points, channels))
    return TimeSeries(steps.cumsum(axis=0).astype(np.float32))


def scratch(**values: Any) -> TimerConfig:
    return TimerConfig(init="scratch", **(SIZES | values))


class TestTimer(EncoderContract):
    plugin = "modrwkv_timer.plugin"
    name = "timer"
    configs = (
        {"init": "scratch", **SIZES},
        {"init": "scratch", **SIZES, "patch": 2, "hidden_size": 4, "num_heads": 1, "channels": 3, "normalize": False},
    )

    def signals(self, config: TimerConfig) -> list[TimeSeries]:
        lengths = (config.patch, config.patch + 1, 3 * config.patch - 1, 5 * config.patch)
        constant = TimeSeries(np.full((2 * config.patch, config.channels), 3.0, np.float32))
        return [walk(length, config.channels, seed=length) for length in lengths] + [constant]

    def bad_signals(self, config: TimerConfig) -> list[TimeSeries]:
        return [
            walk(config.patch - 1, config.channels),
            walk(20, config.channels + 1),
            TimeSeries(np.full((20, config.channels), np.nan, np.float32)),
        ]


def pretrained_weights(sizes: dict[str, int], seed: int = 1) -> dict[str, torch.Tensor]:
    """Random tensors by the names and of the shapes that thuml/timer-base-84m has."""
    hidden_size, intermediate_size = sizes["hidden_size"], sizes["intermediate_size"]
    shapes = {
        "model.embed_layer.emb.weight": (hidden_size, sizes["patch"]),
        "lm_heads.0.weight": (sizes["patch"], hidden_size),
    }
    norms = ["model.norm"]
    for layer in range(sizes["num_layers"]):
        prefix = f"model.layers.{layer}"
        norms += [f"{prefix}.norm1", f"{prefix}.norm2"]
        for projection in "qkv":
            shapes[f"{prefix}.self_attn.{projection}_proj.weight"] = (hidden_size, hidden_size)
            shapes[f"{prefix}.self_attn.{projection}_proj.bias"] = (hidden_size,)
        shapes[f"{prefix}.self_attn.o_proj.weight"] = (hidden_size, hidden_size)
        shapes[f"{prefix}.ffn_layer.gate_proj.weight"] = (intermediate_size, hidden_size)
        shapes[f"{prefix}.ffn_layer.up_proj.weight"] = (intermediate_size, hidden_size)
        shapes[f"{prefix}.ffn_layer.down_proj.weight"] = (hidden_size, intermediate_size)
    shapes |= {f"{norm}.{part}": (hidden_size,) for norm in norms for part in ("weight", "bias")}
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def publish(folder: Path) -> dict[str, torch.Tensor]:
    """Write a tiny checkpoint with the files, keys and names of the published one."""
    settings = {
        "architectures": ["TimerForPrediction"],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": SIZES["hidden_size"],
        "initializer_range": 0.02,
        "input_token_len": SIZES["patch"],
        "intermediate_size": SIZES["intermediate_size"],
        "max_position_embeddings": 10000,
        "model_type": "timer",
        "num_attention_heads": SIZES["num_heads"],
        "num_hidden_layers": SIZES["num_layers"],
        "output_token_lens": [SIZES["patch"]],
        "rope_theta": 10000,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    weights = pretrained_weights(SIZES)
    save_file(weights, folder / "model.safetensors")
    return weights


def layer_norm(x: Array, weights: dict[str, Array], name: str) -> Array:
    centered = x - x.mean()
    return centered / np.sqrt((centered**2).mean() + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def turned(x: Array, place: int) -> Array:
    """A head's vector, whose numbers i and i + half are rotated by ``place * 10000 ** (-2 i / hidden_size)``."""
    half = len(x) // 2
    result = np.empty_like(x)
    for i in range(half):
        angle = place * 10_000.0 ** (-2 * i / len(x))
        result[i] = x[i] * np.cos(angle) - x[i + half] * np.sin(angle)
        result[i + half] = x[i + half] * np.cos(angle) + x[i] * np.sin(angle)
    return result


def by_hand(weights: dict[str, Array], patches: Array, num_layers: int, num_heads: int) -> Array:
    """Timer patch by patch and head by head, from the published arithmetic."""
    stream = [weights["model.embed_layer.emb.weight"] @ patch for patch in patches]
    head_width = len(stream[0]) // num_heads
    for layer in range(num_layers):
        name = f"model.layers.{layer}"
        q, k, v = (
            [
                (weights[f"{name}.self_attn.{p}_proj.weight"] @ x + weights[f"{name}.self_attn.{p}_proj.bias"])
                for x in stream
            ]
            for p in "qkv"
        )
        attended = []
        for t, x in enumerate(stream):
            mixed = []
            for head in range(num_heads):
                part = slice(head * head_width, (head + 1) * head_width)
                query = turned(q[t][part], t)
                scores = [query @ turned(k[s][part], s) / np.sqrt(head_width) for s in range(t + 1)]
                shares = np.exp(scores) / np.exp(scores).sum()
                mixed.append(sum(share * v[s][part] for s, share in enumerate(shares)))
            out = weights[f"{name}.self_attn.o_proj.weight"] @ np.concatenate(mixed)
            attended.append(layer_norm(x + out, weights, f"{name}.norm1"))
        stream = []
        for x in attended:
            gate = weights[f"{name}.ffn_layer.gate_proj.weight"] @ x
            inner = gate / (1.0 + np.exp(-gate)) * (weights[f"{name}.ffn_layer.up_proj.weight"] @ x)
            out = weights[f"{name}.ffn_layer.down_proj.weight"] @ inner
            stream.append(layer_norm(x + out, weights, f"{name}.norm2"))
    return np.stack([layer_norm(x, weights, "model.norm") for x in stream])


def test_features_of_a_checkpoint_follow_the_published_arithmetic(tmp_path: Path) -> None:
    weights = {name: value.double().numpy() for name, value in publish(tmp_path).items()}
    config = TimerConfig(checkpoint=str(tmp_path), channels=2)
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    encoder = TimerEncoder(config).eval()
    encoder.load_pretrained()
    assert encoder.pretrained_files() == (tmp_path / "model.safetensors",)
    series = [walk(points, channels=2, seed=points) for points in (12, 23, 100)]
    with torch.no_grad():
        features = encoder([TimerProcessor(config)(one) for one in series])
    for row, one in enumerate(series):
        values = one.values.astype(np.float64)
        normed = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
        expected = []
        for channel in normed.T:
            newest = channel[len(channel) % 12 :]
            expected.append(by_hand(weights, newest.reshape(-1, 12), SIZES["num_layers"], SIZES["num_heads"]))
        found = features.values[row, : int(features.lengths[row])].double().numpy()
        difference = np.linalg.norm(found - np.concatenate(expected))
        assert difference <= 1e-5 * np.linalg.norm(np.concatenate(expected))


def test_the_published_size_is_known_offline() -> None:
    """With its forecasting head it has the 84.1 million numbers of the file of 337 MB in float32."""
    config = TimerConfig(checkpoint="thuml/timer-base-84m")
    with torch.device("meta"):
        encoder = TimerEncoder(config)
    numbers = sum(parameter.numel() for parameter in encoder.parameters()) + 96 * 1024
    assert numbers == 84_142_080
    assert round(4 * numbers / 1e6) == 337
    assert (config.out_dim, config.out_length(2880), config.out_length(95)) == (1024, 30, 0)
    assert {f"model.{name}" for name in encoder.model.state_dict()} | {"lm_heads.0.weight"} == set(
        pretrained_weights({"patch": 1, "hidden_size": 2, "num_layers": 8, "intermediate_size": 1})
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 60))
def test_lengths_are_those_of_forward(patch: int, channels: int, points: int) -> None:
    config = scratch(patch=patch, channels=channels, hidden_size=4, num_heads=2, num_layers=1, intermediate_size=3)
    processor = TimerProcessor(config)
    if points < patch:
        assert config.out_length(points) == 0
        with pytest.raises(DataError, match=f"has {points} points, the encoder needs at least {patch}"):
            processor(walk(points, channels))
        return
    with torch.no_grad():
        features = TimerEncoder(config).eval()([processor(walk(points, channels))])
    assert features.values.shape == (1, config.out_length(points), config.out_dim)
    assert torch.isfinite(features.values).all()


def test_a_feature_depends_on_its_patch_and_those_before_it() -> None:
    config = scratch(normalize=False)
    torch.manual_seed(0)
    encoder = TimerEncoder(config).eval()
    before = TimerProcessor(config)(walk(5 * 12 + 7))
    after = TimerProcessor(config)(walk(5 * 12 + 7))
    after.tensors["patches"][0, 3, 4] += 10.0
    with torch.no_grad():
        changed = (encoder([before]).values != encoder([after]).values).any(dim=-1)[0]
    assert changed.tolist() == [False, False, False, True, True]


def test_channels_are_read_one_by_one() -> None:
    torch.manual_seed(0)
    pair = TimerEncoder(scratch(channels=2)).eval()
    single = TimerEncoder(scratch()).eval()
    single.load_state_dict(pair.state_dict())
    both = walk(40, channels=2)
    with torch.no_grad():
        together = pair([TimerProcessor(pair.config)(both)]).values[0]
        alone = [
            single([TimerProcessor(single.config)(TimeSeries(both.values[:, i : i + 1]))]).values[0] for i in range(2)
        ]
    torch.testing.assert_close(together, torch.cat(alone))


def patches(values: ArrayLike, **settings: Any) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    return TimerProcessor(scratch(**settings))(TimeSeries(array.reshape(len(array), -1))).tensors["patches"].numpy()


def test_the_oldest_points_that_fill_no_patch_are_left_out() -> None:
    table = np.arange(14.0).reshape(7, 2)
    expected = [[[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]], [[3.0, 5.0, 7.0], [9.0, 11.0, 13.0]]]
    assert patches(table, patch=3, channels=2, normalize=False).tolist() == expected


@given(scale=st.floats(1e-8, 1e8), shift=st.floats(-100.0, 100.0))
def test_units_do_not_matter(scale: float, shift: float) -> None:
    values = np.sin(np.arange(50.0))
    np.testing.assert_allclose(patches((values + shift) * scale), patches(values), atol=2e-4)


@pytest.mark.parametrize("constant", [0.0, 30.531, -1e20, 1e-20])
@pytest.mark.parametrize("points", [1, 30])
def test_a_constant_becomes_zeros(constant: float, points: int) -> None:
    assert not patches([constant] * points, patch=1).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "has 1 points, the encoder needs at least 2"),
        ([[1.0, 2.0], [3.0, 4.0]], "has 2 channels, the encoder reads 1"),
        ([1.0, 2.0, float("nan")], "holds nan at point 2 of channel 0"),
        ([1.0, float("-inf"), 2.0], "holds -inf at point 1 of channel 0"),
    ],
)
def test_series_that_cannot_be_read_are_refused(values: ArrayLike, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        patches(values, patch=2)
    assert caught.value.hint


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(tmp_path: Path) -> None:
    whole = publish(tmp_path)
    name = "model.layers.1.ffn_layer.up_proj.weight"
    damages = {
        r"1 missing: layers\.1\.ffn_layer\.up_proj\.weight": {
            key: value for key, value in whole.items() if key != name
        },
        r"layers\.1\.ffn_layer\.up_proj\.weight \[40, 23\] instead of \[40, 24\]": whole | {name: torch.zeros(40, 23)},
        "1 unexpected: extra": whole | {"model.extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, tmp_path / "model.safetensors")
        encoder = TimerEncoder(TimerConfig(checkpoint=str(tmp_path)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path) -> None:
    publish(tmp_path)
    config = TimerConfig(checkpoint=str(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    again = TimerConfig.model_validate(config.model_dump(mode="json"))
    assert again == config


def test_a_weight_file_loads_with_the_configuration_beside_it(tmp_path: Path) -> None:
    weights = publish(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "timer.bin")
    (tmp_path / "model.safetensors").unlink()
    encoder = TimerEncoder(TimerConfig(checkpoint=str(tmp_path / "timer.bin")))
    encoder.load_pretrained()
    assert all(torch.equal(weights[f"model.{name}"], value) for name, value in encoder.model.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    whole = (tmp_path / "config.json").read_text()
    wrong = {
        "model_type 'sundial', not 'timer'": {"model_type": "sundial"},
        "hidden_act = 'gelu'": {"hidden_act": "gelu"},
        "rope_theta = 500": {"rope_theta": 500},
        "input_token_len = '96'": {"input_token_len": "96"},
    }
    for message, changes in wrong.items():
        (tmp_path / "config.json").write_text(json.dumps(json.loads(whole) | changes))
        with pytest.raises(ValidationError, match=message):
            TimerConfig(checkpoint=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "thuml/timer-base-84m", "init": "scratch"}, "either a checkpoint or init: scratch"),
        (SIZES | {"init": "scratch", "num_heads": 8}, "num_heads 8 does not divide the hidden_size 24 into even parts"),
        (SIZES | {"init": "scratch", "patch": 0}, "greater than 0"),
        (SIZES | {"init": "scratch", "depth": 4}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TimerConfig(**values)
