"""The official recipe: what a fresh model looks like."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config

LAYERS, WIDTH, VOCAB = 3, 128, 512


@pytest.fixture(scope="module")
def model() -> RWKV7:
    torch.manual_seed(1)
    return RWKV7(RWKV7Config(num_layers=LAYERS, hidden_size=WIDTH), VOCAB)


@pytest.fixture(scope="module")
def weights(model: RWKV7) -> dict[str, Tensor]:
    return model.state_dict()


def test_the_seed_decides() -> None:
    def build(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return RWKV7(RWKV7Config(num_layers=2, hidden_size=64), 32).state_dict()

    first, again, other = build(3), build(3), build(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_an_untrained_model_knows_nothing(model: RWKV7) -> None:
    ids = torch.randint(0, VOCAB, (4, 65))
    with torch.no_grad():
        hidden, _ = model(model.embed(ids[:, :-1]))
        loss = F.cross_entropy(model.logits(hidden).flatten(0, 1), ids[:, 1:].flatten())
    # Orthogonal rows of gain g give logits of variance g^2 D / V = 1/4, which costs 1/8.
    assert loss.item() == pytest.approx(math.log(VOCAB) + 0.125, abs=0.05)


def test_embedding_is_uniform_and_tiny(weights: dict[str, Tensor]) -> None:
    embedding = weights["emb.weight"]
    assert 0.99e-4 < embedding.abs().max() <= 1e-4
    assert embedding.std().item() == pytest.approx(1e-4 / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("head.weight", 0.5 * math.sqrt(VOCAB / WIDTH)),
        ("blocks.1.att.receptance.weight", 1.0),
        ("blocks.1.att.key.weight", 0.1),
        ("blocks.1.att.value.weight", 1.0),
        ("blocks.1.ffn.key.weight", 1.0),
    ],
)
def test_projections_are_orthogonal(weights: dict[str, Tensor], name: str, gain: float) -> None:
    gram = weights[name].mT @ weights[name]
    torch.testing.assert_close(gram, gain**2 * torch.eye(WIDTH), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["w2", "a2", "v2", "g2"])
def test_low_rank_maps_are_orthogonal_on_the_way_up(weights: dict[str, Tensor], name: str) -> None:
    up = weights[f"blocks.1.att.{name}"]
    torch.testing.assert_close(up @ up.mT, 0.01 * torch.eye(len(up)), rtol=0, atol=1e-6)


def test_a_head_smaller_than_the_width_keeps_gain_one_half() -> None:
    head = RWKV7(RWKV7Config(num_layers=1, hidden_size=64), 32).head.weight.detach()
    torch.testing.assert_close(head @ head.mT, 0.25 * torch.eye(32), rtol=0, atol=1e-5)


def test_zeros(weights: dict[str, Tensor]) -> None:
    for layer in range(LAYERS):
        names = [f"att.{low_rank}1" for low_rank in "wag"] + ["att.output.weight", "ffn.value.weight", "att.ln_x.bias"]
        names += ["att.v1"] if layer else []
        assert not any(weights[f"blocks.{layer}.{name}"].any() for name in names)


def test_decay_rises_over_channels(weights: dict[str, Tensor]) -> None:
    """Bias -5.5 to 0.5 along a power of the channel, plus 2.5 times a zigzag from -1 to 1 within each head."""
    for layer, power in ((0, 1.0), (LAYERS - 1, 2.0)):
        w0 = weights[f"blocks.{layer}.att.w0"].flatten()
        assert w0[0].item() == pytest.approx(-8.0, abs=1e-5)
        assert w0[-1].item() == pytest.approx(3.0, abs=1e-5)
        assert w0[63].item() == pytest.approx(-5.5 + 6 * (63 / 127) ** power + 2.5, abs=1e-5)
        assert w0[64].item() == pytest.approx(-5.5 + 6 * (64 / 127) ** power - 2.5, abs=1e-5)


def test_vectors_of_the_first_and_last_channel(weights: dict[str, Tensor]) -> None:
    expected = {
        "a0": (-0.19 - 0.3 - 0.2, -0.19 + 0.3 + 0.2),
        "v0": (0.93, 0.53),
        "k_k": (0.76, 0.66),
        "k_a": (1.02, 1.02),
        "r_k": (-0.04, -0.04),
        "x_r": (1.0, 1 - (127 / 128) ** (0.2 * 2 / 3)),
        "x_w": (1.0, 1 - (127 / 128) ** (0.9 * 2 / 3)),
        "x_k": (1.0, 1 - (127 / 128) ** (0.7 * 2 / 3)),
        "x_v": (1.0, 1 - (127 / 128) ** (0.7 * 2 / 3)),
        "x_a": (1.0, 1 - (127 / 128) ** (0.9 * 2 / 3)),
        "x_g": (1.0, 1 - (127 / 128) ** (0.2 * 2 / 3)),
        "ln_x.weight": ((2 / 3) ** 0.7, (2 / 3) ** 0.7),
    }
    for name, (first, last) in expected.items():
        vector = weights[f"blocks.1.att.{name}"].flatten()
        assert vector[0].item() == pytest.approx(first, abs=1e-6), name
        assert vector[-1].item() == pytest.approx(last, abs=1e-6), name
    channel = weights["blocks.1.ffn.x_k"].flatten()
    assert channel[0].item() == 1.0
    assert channel[-1].item() == pytest.approx(1 - (127 / 128) ** ((2 / 3) ** 4), abs=1e-6)


def test_one_layer_is_finite() -> None:
    assert all(
        tensor.isfinite().all() for tensor in RWKV7(RWKV7Config(num_layers=1, hidden_size=64), 32).state_dict().values()
    )
