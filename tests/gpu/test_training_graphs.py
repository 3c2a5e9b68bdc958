"""Captured passes of training are those that are launched one kernel after another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.backbones.rwkv7 import training_graphs as module
from modrwkv_core.backbones.rwkv7.training_graphs import MAX_GRAPHS, TrainingGraphs, training_graphs

LENGTHS = [[7, 40, 1, 16], [30, 31], [64], [3] * 20]


@pytest.fixture
def model() -> RWKV7:
    torch.manual_seed(0)
    config = RWKV7Config(num_layers=3, hidden_size=128)
    model = RWKV7(config, vocab_size=64).cuda()
    with torch.no_grad():  # as after some training: fresh weights have zeros that hide gradients
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def packed(lengths: Sequence[int]) -> tuple[Tensor, CuSeqlens]:
    x = torch.randn(1, sum(lengths), 128, device="cuda", requires_grad=True)
    return x, CuSeqlens.of([0, *accumulate(lengths)]).to("cuda")


def results(model: RWKV7, hidden: Tensor, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """The hidden vectors and the gradients of their weighted sum."""
    kept = hidden.detach().clone()
    (hidden * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert x.grad is not None
    found = {"hidden": kept, "x": x.grad, **gradients}
    x.grad = None
    model.zero_grad(set_to_none=True)
    return found


def replayed(model: RWKV7, x: Tensor, lengths: CuSeqlens) -> bool:
    graphs = training_graphs(model)
    assert graphs is not None
    count = len(graphs._graphs)
    hidden = model.training_pass(x, lengths)
    is_replayed = "Replay" in type(hidden.grad_fn).__name__
    assert len(graphs._graphs) >= count
    return is_replayed


def assert_equal_passes(model: RWKV7, lengths: Sequence[int], *, tolerance: float = 1e-4) -> None:
    x, cu_seqlens = packed(lengths)
    weights = torch.randn_like(x)
    expected = results(model, model(x, cu_seqlens=cu_seqlens)[0], x, weights)
    hidden = model.training_pass(x, cu_seqlens)
    assert "Replay" in type(hidden.grad_fn).__name__
    found = results(model, hidden, x, weights)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name].float() - value.float()).norm() / value.float().norm().clamp(min=1e-6)
        assert error < tolerance, name


def meet(model: RWKV7, lengths: Sequence[int]) -> None:
    x, cu_seqlens = packed(lengths)
    model.training_pass(x, cu_seqlens).sum().backward()
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_passes_are_equal(model: RWKV7, checkpointing: str) -> None:
    model.config = model.config.model_copy(update={"activation_checkpointing": checkpointing})
    for lengths in LENGTHS:
        meet(model, lengths)
    for lengths in [*LENGTHS, *LENGTHS[::-1]]:
        assert_equal_passes(model, lengths)


def test_passes_in_bfloat16_are_equal(model: RWKV7) -> None:
    with torch.autocast("cuda", dtype=torch.bfloat16):
        meet(model, LENGTHS[0])
        assert_equal_passes(model, LENGTHS[0], tolerance=2e-2)


def test_a_replay_reads_the_weights_of_now(model: RWKV7) -> None:
    meet(model, LENGTHS[0])
    assert_equal_passes(model, LENGTHS[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    assert_equal_passes(model, LENGTHS[0])


def test_what_learns_may_change(model: RWKV7) -> None:
    meet(model, LENGTHS[0])
    assert_equal_passes(model, LENGTHS[0])
    model.requires_grad_(False)
    meet(model, LENGTHS[0])
    assert_equal_passes(model, LENGTHS[0])


def test_another_pass_before_the_backward_pass_is_not_replayed(model: RWKV7) -> None:
    meet(model, LENGTHS[0])
    x, cu_seqlens = packed(LENGTHS[0])
    first = model.training_pass(x, cu_seqlens)
    kept = first.detach().clone()
    second = model.training_pass(x * 2, cu_seqlens)
    assert "Replay" in type(first.grad_fn).__name__
    assert "Replay" not in type(second.grad_fn).__name__
    assert torch.equal(first, kept)
    second.sum().backward()
    first.sum().backward()
    assert replayed(model, x, cu_seqlens)


def test_gradients_of_micro_batches_add_up(model: RWKV7) -> None:
    meet(model, LENGTHS[0])
    (x, cu_seqlens), (other, _) = packed(LENGTHS[0]), packed(LENGTHS[0])
    for each in (x, other):
        model(each, cu_seqlens=cu_seqlens)[0].square().sum().backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    for each in (x, other):
        model.training_pass(each, cu_seqlens).square().sum().backward()
    for name, value in expected.items():
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert (gradient - value).norm() <= 1e-4 * value.norm().clamp(min=1e-6), name


def test_hooks_run(model: RWKV7) -> None:
    meet(model, LENGTHS[0])
    seen = []
    model.blocks[1].register_forward_hook(lambda *_: seen.append(1))
    meet(model, LENGTHS[0])
    assert seen == [1]


def test_without_room_nothing_is_captured(model: RWKV7, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingGraphs, "_has_room", lambda *_: False)
    x, cu_seqlens = packed(LENGTHS[0])
    assert not any(replayed(model, x, cu_seqlens) for _ in range(3))


def test_the_graphs_used_last_are_kept(model: RWKV7, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GRAPHS", 2)
    lengths = [[40, 50], [200], [500, 3]]
    for _ in range(2):
        for each in lengths:
            meet(model, each)
    graphs = training_graphs(model)
    assert graphs is not None
    assert len(graphs._graphs) == 2 < MAX_GRAPHS
    assert_equal_passes(model, lengths[2])
