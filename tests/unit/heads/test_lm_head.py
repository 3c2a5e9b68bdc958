from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.heads.lm import LanguageModelHead
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig


@pytest.fixture
def backbone() -> FakeBackbone:
    torch.manual_seed(0)
    return FakeBackbone(FakeBackboneConfig(hidden_size=8), vocab_size=11).double()


def answers(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(count, 8, dtype=torch.float64, generator=generator)
    return hidden.requires_grad_(), torch.randint(0, 11, (count,), generator=generator)


def by_hand(backbone: FakeBackbone, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    scores = hidden @ backbone.head.weight.T
    return -(scores.softmax(dim=-1)[torch.arange(len(ids)), ids]).log().mean()


def test_loss_and_gradients_are_those_of_the_scores(backbone: FakeBackbone) -> None:
    head = LanguageModelHead(LanguageModelConfig(), backbone)
    hidden, ids = answers(23)
    variables = [hidden, backbone.head.weight]
    loss, expected = head.supervise(hidden, ids), by_hand(backbone, hidden, ids)
    torch.testing.assert_close(loss, expected)
    for actual, wanted in zip(
        torch.autograd.grad(loss, variables), torch.autograd.grad(expected, variables), strict=True
    ):
        torch.testing.assert_close(actual, wanted)


def test_a_copy_scores_with_its_own_backbone(backbone: FakeBackbone) -> None:
    copy, head = deepcopy((backbone, LanguageModelHead(LanguageModelConfig(), backbone)))
    torch.nn.init.zeros_(backbone.head.weight)
    hidden, ids = answers(3)
    torch.testing.assert_close(head.supervise(hidden, ids), by_hand(copy, hidden, ids))


def test_the_backbone_is_neither_saved_nor_trained_twice(backbone: FakeBackbone) -> None:
    head = LanguageModelHead(LanguageModelConfig(), backbone)
    assert head.state_dict() == {}
    assert list(head.parameters()) == []
    assert list(head.modules()) == [head]


def test_half_precision_is_summed_in_single(backbone: FakeBackbone) -> None:
    backbone.bfloat16()
    hidden, ids = answers(5)
    loss = LanguageModelHead(LanguageModelConfig(), backbone).supervise(hidden.bfloat16(), ids)
    assert loss.dtype is torch.float32


def test_predicts_the_backbones_logits(backbone: FakeBackbone) -> None:
    hidden, _ = answers(3)
    head = LanguageModelHead(LanguageModelConfig(), backbone)
    torch.testing.assert_close(head.predict(hidden), hidden @ backbone.head.weight.T)
