from __future__ import annotations

import numpy as np
import pytest
import torch
from modrwkv_gated_mlp.adapter import GatedMLPAdapter
from modrwkv_gated_mlp.config import GatedMLPConfig
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from modrwkv_core.interfaces.values import Features


def adapter(in_dim: int, out_dim: int, expansion: int = 4) -> GatedMLPAdapter:
    torch.manual_seed(0)
    return GatedMLPAdapter(GatedMLPConfig(expansion=expansion), in_dim, out_dim)


def features(dim: int, count: int = 64) -> Features:
    values = torch.randn(1, count, dim, generator=torch.Generator().manual_seed(1))
    return Features(values, torch.tensor([count]))


def rms(values: torch.Tensor) -> float:
    return values.square().mean().sqrt().item()


def test_forward_is_the_formula_of_the_papers() -> None:
    module = adapter(5, 3).double()
    torch.nn.init.normal_(module.norm.weight)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    x = features(5).values.double()
    norm = x[0].numpy() / np.sqrt((x[0].numpy() ** 2).mean(axis=-1, keepdims=True) + 1e-6) * weights["norm.weight"]
    gate = norm @ weights["gate.weight"].T
    hidden = gate / (1.0 + np.exp(-gate)) * (norm @ weights["up.weight"].T)
    expected = hidden @ weights["down.weight"].T
    actual = module(Features(x, torch.tensor([64]))).values[0].detach().numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_forward_is_llamas_perceptron_behind_its_norm() -> None:
    module = adapter(16, 16, expansion=2)
    upstream = LlamaMLP(LlamaConfig(hidden_size=16, intermediate_size=32, num_attention_heads=2))
    upstream.load_state_dict({f"{name}_proj.weight": getattr(module, name).weight for name in ("gate", "up", "down")})
    given = features(16)
    expected = upstream(LlamaRMSNorm(16, eps=1e-6)(given.values))
    torch.testing.assert_close(module(given).values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("in_dim", "out_dim"), [(16, 64), (768, 256), (256, 768)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_features_of_any_scale_begin_as_tokens_of_unit_scale(in_dim: int, out_dim: int, scale: float) -> None:
    given = features(in_dim)
    assert rms(adapter(in_dim, out_dim)(Features(scale * given.values, given.lengths)).values) == pytest.approx(
        1.0, rel=0.15
    )


def test_gradients_reach_the_features_of_the_items_only() -> None:
    values = torch.randn(2, 5, 6, requires_grad=True)
    out = adapter(6, 4)(Features(values, torch.tensor([5, 2])))
    assert out.lengths.tolist() == [5, 2]
    out.values.square().sum().backward()
    assert values.grad is not None
    assert (values.grad.abs().amax(dim=-1) > 0).tolist() == [[True] * 5, [True, True, False, False, False]]
