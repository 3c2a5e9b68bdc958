"""Muon takes the hidden matrices, AdamW the rest, each with the steps of torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.errors import ComponentError
from modrwkv_core.training.config import MuonConfig
from modrwkv_core.training.muon import Muon


def parameters() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"backbone:blocks.0.att.key.weight": (6, 4), "backbone:emb.weight": (9, 4), "image.adapter:bias": (4,)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def groups(named: dict[str, torch.nn.Parameter]) -> list[dict[str, Any]]:
    return [{"params": [*named.values()], "names": [*named], "lr": 1e-2, "weight_decay": 0.1}]


def test_each_parameter_takes_the_steps_of_its_optimizer() -> None:
    named, judged = parameters(), parameters()
    matrix, *others = judged.values()
    judges = [
        torch.optim.Muon([matrix], momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1, fused=True),
    ]
    ours = Muon(MuonConfig(momentum=0.9), groups(named))
    for step in range(4):
        ours.param_groups[0]["lr"] = 0.1 / (step + 1)
        generator = torch.Generator().manual_seed(step)
        for one, other in zip(named.values(), judged.values(), strict=True):
            one.grad = other.grad = torch.randn(one.shape, generator=generator)
        ours.step()
        for judge in judges:
            judge.param_groups[0]["lr"] = 0.1 / (step + 1)
            judge.step()
    for name, parameter in named.items():
        assert torch.equal(parameter, judged[name]), name


def test_embeddings_output_projection_and_vectors_of_the_backbone_are_adamws() -> None:
    named = {
        f"backbone:{name}": each
        for name, each in RWKV7(RWKV7Config(num_layers=2, hidden_size=64), 32).named_parameters()
    }
    optimizer = Muon(MuonConfig(), groups(named))
    for parameter in named.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    muons = {name for name, each in named.items() if "momentum_buffer" in optimizer.state[each]}
    assert {name.split(".")[-1] for name in muons if not name.endswith(".weight")} == {
        "w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2"
    }  # fmt: skip
    weights = {name.split(".")[-2] for name in muons if name.endswith(".weight")}
    assert weights == {"receptance", "key", "value", "output"}


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ComponentError, match="has no Muon"):
        Muon(MuonConfig(), groups(parameters()))
