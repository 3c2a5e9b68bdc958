from __future__ import annotations

from typing import Any

import torch
from modrwkv_adamw8bit.config import AdamW8bitConfig
from modrwkv_adamw8bit.optimizer import AdamW8bit

from modrwkv_core.testing import OptimizerContract


class TestAdamW8bit(OptimizerContract):
    plugin = "modrwkv_adamw8bit.plugin"
    name = "adamw8bit"
    configs = ({}, {"min_8bit_size": 0, "betas": [0.8, 0.95], "eps": 1e-6})


def built(weight: torch.nn.Parameter, **settings: Any) -> AdamW8bit:
    return AdamW8bit(AdamW8bitConfig(**settings), [{"params": [weight], "lr": 1e-2, "weight_decay": 0.1}])


def test_averages_take_8_bits_and_the_steps_are_nearly_those_of_adamw() -> None:
    torch.manual_seed(0)
    weight, exact = (torch.nn.Parameter(tensor) for tensor in torch.randn(64, 128).repeat(2, 1, 1))
    begun = weight.detach().clone()
    ours = built(weight)
    judge = torch.optim.AdamW([exact], lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    direction = torch.randn(64, 128)
    for _ in range(20):
        gradient = direction + 0.3 * torch.randn(64, 128)
        weight.grad, exact.grad = gradient, gradient.clone()
        ours.step()
        judge.step()
    assert {ours.state[weight][name].dtype for name in ("state1", "state2")} == {torch.uint8}
    moved, expected = weight.detach() - begun, exact.detach() - begun
    assert (moved - expected).norm() < 0.05 * expected.norm()


def test_small_parameters_keep_float32() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    optimizer = built(weight)
    weight.grad = torch.ones(4, 4)
    optimizer.step()
    assert optimizer.state[weight]["state1"].dtype == torch.float32
