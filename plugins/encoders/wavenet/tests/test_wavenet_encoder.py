from __future__ import annotations

import numpy as np
import pytest
import torch
from modrwkv_wavenet.config import WaveNetConfig
from modrwkv_wavenet.encoder import WaveNetEncoder
from numpy.typing import NDArray

from modrwkv_core.interfaces.values import MediaItem


def encoder(**settings: object) -> WaveNetEncoder:
    torch.manual_seed(0)
    return WaveNetEncoder(WaveNetConfig.model_validate(settings)).double()


def item(points: int, channels: int = 1, seed: int = 0) -> MediaItem:
    values = torch.randn(points, channels, generator=torch.Generator().manual_seed(seed))
    return MediaItem({"values": values}, points)


def by_hand(weights: dict[str, NDArray[np.float64]], x_LC: NDArray[np.float64], dilations: list[int], kernel: int):
    """WaveNet point by point, from the equations of the paper."""
    hidden_size = weights["embed.weight"].shape[0]
    stream = x_LC @ weights["embed.weight"][..., 0].T + weights["embed.bias"]
    skips = np.zeros_like(stream)
    for i, dilation in enumerate(dilations):
        taps = weights[f"layers.{i}.dilated.weight"]
        summed = np.tile(weights[f"layers.{i}.dilated.bias"], (len(stream), 1))
        for t in range(len(stream)):
            for k in range(kernel):
                past = t - (kernel - 1 - k) * dilation
                if past >= 0:
                    summed[t] += taps[..., k] @ stream[past]
        gated = np.tanh(summed[:, :hidden_size]) / (1.0 + np.exp(-summed[:, hidden_size:]))
        mixed = gated @ weights[f"layers.{i}.mix.weight"][..., 0].T + weights[f"layers.{i}.mix.bias"]
        skips += mixed[:, :hidden_size]
        if i < len(dilations) - 1:
            stream = stream + mixed[:, hidden_size:]
    y = np.maximum(skips / len(dilations) ** 0.5, 0.0) @ weights["out.weight"][..., 0].T + weights["out.bias"]
    centered = y - y.mean(axis=-1, keepdims=True)
    norm = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
    return norm * weights["norm.weight"] + weights["norm.bias"]


@pytest.mark.parametrize("kernel", [2, 3])
def test_forward_follows_the_equations(kernel: int) -> None:
    module = encoder(channels=2, hidden_size=5, num_layers=3, blocks=2, kernel=kernel)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    given = item(40, channels=2)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    expected = by_hand(weights, given.tensors["values"].double().numpy(), [1, 2, 4, 1, 2, 4], kernel)
    np.testing.assert_allclose(module([given]).values[0].detach().numpy(), expected, rtol=0, atol=1e-10)


def test_the_future_changes_nothing_before_it() -> None:
    module = encoder(hidden_size=6, num_layers=4, blocks=2)
    before = item(64)
    after = MediaItem({"values": before.tensors["values"].clone()}, 64)
    after.tensors["values"][40:] = 100.0
    changed = (module([before]).values != module([after]).values).any(dim=-1)[0]
    assert not changed[:40].any()
    assert changed[40:].all()


@pytest.mark.parametrize(
    "settings", [{"num_layers": 4}, {"num_layers": 3, "blocks": 2}, {"num_layers": 3, "kernel": 3}]
)
def test_receptive_field_is_what_the_configuration_says(settings: dict[str, int]) -> None:
    module = encoder(hidden_size=6, **settings)
    field = module.config.receptive_field
    values = item(60).tensors["values"].double().requires_grad_()
    module([MediaItem({"values": values}, 60)]).values[0, 50].square().sum().backward()
    assert values.grad is not None
    seen = values.grad[:, 0].nonzero()[:, 0]
    assert (seen.min().item(), seen.max().item()) == (50 - field + 1, 50)


def test_series_of_any_scale_give_features_of_unit_scale() -> None:
    features = encoder(hidden_size=32, num_layers=6)([item(200, seed=seed) for seed in range(4)])
    assert features.values.square().mean().sqrt().item() == pytest.approx(1.0, rel=0.05)
