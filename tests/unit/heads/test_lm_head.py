from __future__ import annotations

import pytest
import torch

from modrwkv_core.heads import lm
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.heads.lm import LanguageModelHead
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig


@pytest.fixture
def backbone() -> FakeBackbone:
    torch.manual_seed(0)
    return FakeBackbone(FakeBackboneConfig(width=8), vocab_size=11).double()


def answers(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(count, 8, dtype=torch.float64, generator=generator)
    return hidden.requires_grad_(), torch.randint(0, 11, (count,), generator=generator)


def by_hand(backbone: FakeBackbone, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    scores = hidden @ backbone.head.weight.T
    return -(scores.softmax(dim=-1)[torch.arange(len(ids)), ids]).log().mean()


@pytest.mark.parametrize("rows_at_once", [100, 7, 1])
def test_slices_change_neither_loss_nor_gradients(
    backbone: FakeBackbone, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(lm, "LOGITS_AT_ONCE", 11 * rows_at_once)
    head = LanguageModelHead(LanguageModelConfig(), backbone)
    hidden, ids = answers(23)
    variables = [hidden, backbone.head.weight]
    loss, expected = head.loss(hidden, ids), by_hand(backbone, hidden, ids)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    for actual, wanted in zip(
        torch.autograd.grad(loss, variables), torch.autograd.grad(expected, variables), strict=True
    ):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-8)


def test_no_more_scores_than_the_limit_exist_at_one_time(
    backbone: FakeBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm, "LOGITS_AT_ONCE", 11 * 4)
    head = LanguageModelHead(LanguageModelConfig(), backbone)
    kept: list[int] = []

    def saved(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() if tensor.shape[-1:] == (11,) else 0)
        return tensor

    hidden, ids = answers(23)
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
        head.loss(hidden, ids)
    assert sum(kept) == 0


def test_the_trunk_is_neither_saved_nor_trained_twice(backbone: FakeBackbone) -> None:
    head = LanguageModelHead(LanguageModelConfig(), backbone)
    assert head.state_dict() == {}
    assert list(head.parameters()) == []
    assert list(head.modules()) == [head]


def test_half_precision_is_summed_in_single(backbone: FakeBackbone) -> None:
    backbone.bfloat16()
    hidden, ids = answers(5)
    loss = LanguageModelHead(LanguageModelConfig(), backbone).loss(hidden.bfloat16(), ids)
    assert loss.dtype is torch.float32
