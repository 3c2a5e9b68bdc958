"""Weights that a checkpoint brings are not drawn before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.fresh_weights import draws_weights, weights_to_come
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.new_run import write_new_run
from modrwkv_core.model.run import RunFolder


class Odd(nn.Module):
    """Has parameters and buffers of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.norm = nn.LayerNorm(3)
        self.truncated = nn.Parameter(torch.empty(4))
        nn.init.trunc_normal_(self.truncated, std=0.1)
        self.glorot = nn.Parameter(torch.empty(4, 3))
        nn.init.xavier_normal_(self.glorot)
        self.plain = nn.Parameter(torch.empty(4))
        self.plain.data.normal_()
        self.register_buffer("projection", torch.empty(5).normal_(), persistent=False)


def test_random_parameters_hold_nan_and_all_else_is_as_ever() -> None:
    with weights_to_come():
        assert not draws_weights()
        odd = Odd()
    assert draws_weights()
    for random in (odd.linear.weight, odd.linear.bias, odd.truncated, odd.glorot):
        assert bool(random.isnan().all())
        assert random.requires_grad
    for kept in (odd.norm.weight, odd.norm.bias, odd.plain, odd.projection):
        assert bool(kept.isfinite().all())
    assert all(bool(parameter.isfinite().all()) for parameter in Odd().parameters())


def test_an_error_ends_it() -> None:
    with pytest.raises(RuntimeError), weights_to_come():
        raise RuntimeError
    assert draws_weights()
    assert bool(nn.Linear(2, 2).weight.isfinite().all())


def test_a_backbone_is_found_out_if_nothing_is_loaded() -> None:
    with weights_to_come():
        backbone = RWKV7(RWKV7Config(num_layers=1, hidden_size=64), 32)
    assert all(bool(parameter.isnan().all()) for parameter in backbone.parameters())


def test_loading_a_run_draws_nothing(
    tiny_manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    loaded = load_manifest(tiny_manifest())
    model = assemble(loaded, pretrained=False)
    (tmp_path / "run").mkdir()
    write_new_run(RunFolder(tmp_path / "run"), loaded, model, {})

    def orthogonalize(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are drawn")

    monkeypatch.setattr(torch.linalg, "qr", orthogonalize)
    before = torch.get_rng_state()
    found = load(tmp_path / "run", device="cpu").model.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    expected = model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
