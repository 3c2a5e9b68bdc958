from __future__ import annotations

import numpy as np
import pytest
import torch
from modrwkv_mlp.adapter import MLPAdapter
from modrwkv_mlp.config import MLPConfig

from modrwkv_core.interfaces.values import Features

WIDTHS = [(16, 64), (768, 256), (256, 768)]


def adapter(in_dim: int, out_dim: int, expansion: int = 4) -> MLPAdapter:
    torch.manual_seed(0)
    return MLPAdapter(MLPConfig(expansion=expansion), in_dim, out_dim)


def features(dim: int, count: int = 64) -> Features:
    values = torch.randn(1, count, dim, generator=torch.Generator().manual_seed(1))
    return Features(values, torch.tensor([count]))


def rms(values: torch.Tensor) -> float:
    return values.square().mean().sqrt().item()


def test_forward_is_the_formula_of_the_paper() -> None:
    module = adapter(5, 3).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    x = features(5).values.double()
    hidden = np.maximum(x[0].numpy() @ weights["mlp.0.weight"].T + weights["mlp.0.bias"], 0.0)
    y = hidden @ weights["mlp.2.weight"].T + weights["mlp.2.bias"]
    centered = y - y.mean(axis=-1, keepdims=True)
    norm = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
    expected = y + norm * weights["pre_norm.weight"] + weights["pre_norm.bias"]
    actual = module(Features(x, torch.tensor([64]))).values[0].detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("expansion", [2, 4])
def test_names_and_shapes_are_those_of_the_published_checkpoints(expansion: int) -> None:
    shapes = {name: tuple(value.shape) for name, value in adapter(24, 8, expansion).state_dict().items()}
    assert shapes == {
        "mlp.0.weight": (expansion * 8, 24),
        "mlp.0.bias": (expansion * 8,),
        "mlp.2.weight": (8, expansion * 8),
        "mlp.2.bias": (8,),
        "pre_norm.weight": (8,),
        "pre_norm.bias": (8,),
    }


def test_without_norm_it_is_the_perceptron_alone() -> None:
    torch.manual_seed(0)
    module = MLPAdapter(MLPConfig(expansion=2, norm=False), 5, 3)
    assert set(module.state_dict()) == {"mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"}
    given = features(5)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    hidden = np.maximum(given.values[0].numpy() @ weights["mlp.0.weight"].T + weights["mlp.0.bias"], 0.0)
    expected = hidden @ weights["mlp.2.weight"].T + weights["mlp.2.bias"]
    np.testing.assert_allclose(module(given).values[0].detach().numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
def test_features_of_unit_scale_begin_at_unit_scale(in_dim: int, out_dim: int) -> None:
    module = adapter(in_dim, out_dim)
    given = features(in_dim)
    assert rms(module.mlp(given.values)) == pytest.approx(1.0, rel=0.15)
    assert rms(module(given).values) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
def test_first_gradients_have_one_size_at_all_widths(in_dim: int, out_dim: int) -> None:
    """The same relative error signal at the output arrives at the features with its size kept within a factor of 3."""
    module = adapter(in_dim, out_dim)
    given = features(in_dim)
    given.values.requires_grad_()
    out = module(given).values
    signal = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)) / out_dim**0.5
    out.backward(signal)
    assert given.values.grad is not None
    assert 1 / 3 < rms(given.values.grad) * in_dim**0.5 < 3


@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
def test_unlike_features_begin_as_unlike_tokens(in_dim: int, out_dim: int) -> None:
    tokens = torch.nn.functional.normalize(adapter(in_dim, out_dim)(features(in_dim)).values[0], dim=-1)
    similarity = (tokens @ tokens.T)[~torch.eye(64, dtype=torch.bool)].mean().item()
    assert similarity < 0.45


def test_padding_stays_zero() -> None:
    module = adapter(6, 4)
    torch.nn.init.ones_(module.mlp[2].bias)
    values = torch.randn(2, 5, 6)
    out = module(Features(values, torch.tensor([5, 2])))
    assert out.values[1, 2:].abs().max().item() == 0.0
    assert out.lengths.tolist() == [5, 2]


@pytest.mark.parametrize("norm", [True, False])
def test_matched_features_begin_where_text_embeddings_lie(norm: bool) -> None:
    torch.manual_seed(0)
    mean, std = torch.randn(64) * 0.3, 0.1 + torch.rand(64)
    given = features(256, count=4096)
    for init in ("unit", "matched"):
        module = MLPAdapter(MLPConfig(init=init, norm=norm), 256, 64)
        before = module(given).values
        module.match_embeddings(mean, std)
        after = module(given).values[0]
        if init == "unit":
            assert torch.equal(after, before[0])
        else:
            torch.testing.assert_close(after.std(0), std, rtol=0.25, atol=0.0)
            torch.testing.assert_close(after.mean(0), mean, rtol=0.0, atol=0.2)
