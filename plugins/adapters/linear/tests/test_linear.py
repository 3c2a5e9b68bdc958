from __future__ import annotations

import numpy as np
import pytest
import torch
from modrwkv_linear.adapter import LinearAdapter
from modrwkv_linear.config import LinearConfig

from modrwkv_core.interfaces.values import Features
from modrwkv_core.testing import AdapterContract


class TestLinear(AdapterContract):
    plugin = "modrwkv_linear.plugin"
    name = "linear"
    configs = ({}, {"bias": False})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("in_dim", "out_dim"), [(16, 64), (768, 256)])
def test_it_is_one_affine_map_that_keeps_the_scale(in_dim: int, out_dim: int, bias: bool) -> None:
    torch.manual_seed(0)
    adapter = LinearAdapter(LinearConfig(bias=bias), in_dim, out_dim).double()
    features = Features(torch.randn(2, 64, in_dim, dtype=torch.float64), torch.tensor([64, 64]))
    assert adapter(features).values.square().mean().sqrt().item() == pytest.approx(1.0, rel=0.15)
    if bias:
        torch.nn.init.normal_(adapter.projection.bias)
    weights = {name: value.numpy() for name, value in adapter.state_dict().items()}
    expected = features.values.numpy() @ weights["projection.weight"].T + weights.get("projection.bias", 0.0)
    np.testing.assert_allclose(adapter(features).values.detach().numpy(), expected, rtol=0, atol=1e-12)
