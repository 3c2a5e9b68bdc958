from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_resampler.adapter import ResamplerAdapter
from modrwkv_resampler.config import ResamplerConfig
from numpy.typing import NDArray
from scipy.special import erf, softmax

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.values import Features

Array = NDArray[np.float64]
IN, OUT = 6, 8


def adapter(**settings: int) -> ResamplerAdapter:
    torch.manual_seed(0)
    config = ResamplerConfig(**{"queries": 3, "num_layers": 2, "num_heads": 2, "expansion": 2, **settings})
    module = ResamplerAdapter(config, IN, OUT).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


def features(lengths: list[int]) -> Features:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(len(lengths), max(lengths), IN, generator=generator, dtype=torch.float64)
    return Features(values, torch.tensor(lengths)).with_values(values)


def layer_norm(x: Array, weights: Mapping[str, Array], name: str) -> Array:
    centered = x - x.mean(axis=-1, keepdims=True)
    scaled = centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def resampled(x_LD: Array, weights: Mapping[str, Array], num_layers: int, num_heads: int) -> Array:
    """The whole adapter for one item, head by head and query by query."""
    queries, x = weights["queries"], x_LD @ weights["project.weight"].T
    size = OUT // num_heads
    for layer in range(num_layers):
        at = f"layers.{layer}"
        asking = layer_norm(queries, weights, f"{at}.norm_queries")
        keys = np.concatenate([layer_norm(x, weights, f"{at}.norm_features"), asking])
        to_q, to_k, to_v = np.split(weights[f"{at}.attention.in_proj_weight"], 3)
        gathered = np.zeros_like(queries)
        for head in range(num_heads):
            part = slice(head * size, (head + 1) * size)
            for row, query in enumerate(asking @ to_q[part].T):
                shares = softmax(keys @ to_k[part].T @ query / np.sqrt(size))
                gathered[row, part] = shares @ (keys @ to_v[part].T)
        queries = queries + gathered @ weights[f"{at}.attention.out_proj.weight"].T
        hidden = layer_norm(queries, weights, f"{at}.mlp.0") @ weights[f"{at}.mlp.1.weight"].T
        queries = queries + 0.5 * hidden * (1 + erf(hidden / np.sqrt(2))) @ weights[f"{at}.mlp.3.weight"].T
    return layer_norm(queries, weights, "norm")


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3), num_heads=st.sampled_from([1, 2, 4]))
def test_forward_is_flamingos_resampler_of_each_item_alone(lengths: list[int], num_heads: int) -> None:
    module = adapter(num_heads=num_heads)
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    given = features(lengths)
    with torch.no_grad():
        found = module(given)
    assert found.lengths.tolist() == [3] * len(lengths)
    for row, length in enumerate(lengths):
        expected = resampled(given.values[row, :length].numpy(), weights, num_layers=2, num_heads=num_heads)
        np.testing.assert_allclose(found.values[row].numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("garbage", [1e9, float("nan")])
def test_what_lies_behind_an_item_is_not_seen(garbage: float) -> None:
    module, given = adapter(), features([4, 9, 1])
    dirty = Features(given.values.masked_fill(~given.mask()[..., None], garbage), given.lengths)
    torch.testing.assert_close(module(dirty).values, module(given).values, rtol=0, atol=0)


def test_gradients_reach_the_features_of_the_items_only() -> None:
    given = features([4, 2])
    given.values.requires_grad_()
    weights = torch.randn(2, 3, OUT, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (adapter()(given).values * weights).sum().backward()
    assert given.values.grad is not None
    assert (given.values.grad.abs().amax(dim=-1) > 0).tolist() == [[True] * 4, [True, True, False, False]]


def test_items_without_features_get_no_tokens() -> None:
    found = adapter()(features([0, 5]))
    assert found.lengths.tolist() == [0, 3]
    assert not found.values[0].any()
    assert adapter()(features([0])).values.shape == (1, 0, OUT)


def test_unlike_items_and_unlike_queries_begin_as_unlike_tokens() -> None:
    torch.manual_seed(0)
    module = ResamplerAdapter(ResamplerConfig(queries=16), 64, 128)
    tokens = module(Features(torch.randn(8, 50, 64), torch.full((8,), 50))).values
    assert tokens.square().mean().sqrt().item() == pytest.approx(1.0, rel=0.05)
    directions = torch.nn.functional.normalize(tokens, dim=-1)
    queries = (directions @ directions.transpose(1, 2))[:, ~torch.eye(16, dtype=torch.bool)]
    items = torch.einsum("iqd,jqd->ijq", directions, directions)[~torch.eye(8, dtype=torch.bool)]
    assert queries.mean() < 0.5
    assert items.mean() < 0.85


def test_heads_that_do_not_divide_the_backbone_are_refused() -> None:
    with pytest.raises(ComponentError, match="3 num_heads do not divide the backbone's hidden size 8"):
        ResamplerAdapter(ResamplerConfig(num_heads=3), IN, OUT)
