from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Backbone, Query, QueryHead, TokenHead
from modrwkv_core.interfaces.config import QueryHeadConfig, TokenHeadConfig
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import HeadContract

Broken = Callable[[type[Any]], set[str]]


class ToyConfig(QueryHeadConfig):
    type: Literal["toy"] = "toy"

    modality: str = "audio"
    """Whatever is heard."""

    def prepare(self, signal: Any, target: Any) -> tuple[Any, Any]:
        if not isinstance(target, float | None):
            raise DataError(f"no number: {target}")
        return signal, target


class ToyHead(QueryHead[ToyConfig]):
    """Predicts a number."""

    def __init__(self, config: ToyConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.linear = nn.Linear(backbone.hidden_size, 1)

    def errors(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        targets = torch.tensor([query.target for query in queries], dtype=hidden.dtype, device=hidden.device)
        return (self.linear(hidden)[:, 0] - targets).square()

    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        return self.errors(hidden, queries).mean()

    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        numbers: list[float] = self.linear(hidden)[:, 0].tolist()
        return numbers


class Summing(ToyHead):
    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        return self.errors(hidden, queries).sum()


class Unreduced(ToyHead):
    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        return self.errors(hidden, queries)


class Detached(ToyHead):
    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        return super().supervise(hidden.detach(), queries)


class FirstOnly(ToyHead):
    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        return super().supervise(hidden[:1], queries[:1])


class OwnsTheBackbone(ToyHead):
    def __init__(self, config: ToyConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.backbone_copy = backbone

    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        everything = torch.cat([parameter.flatten() for parameter in self.backbone_copy.parameters()])
        return super().supervise(hidden, queries) + everything.square().mean()


class PredictsTensors(ToyHead):
    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        return list(self.linear(hidden)[:, 0])


class PredictsOne(ToyHead):
    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        return super().predict(hidden, queries)[:1]


class LooksAround(ToyHead):
    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        return super().predict(hidden - hidden.mean(0), queries)


class PredictsNoTargets(ToyHead):
    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        return [str(number > 0) for number in super().predict(hidden, queries)]


class WordConfig(TokenHeadConfig):
    type: Literal["toy"] = "toy"


class WordHead(TokenHead[WordConfig]):
    """Predicts tokens by a projection of its own."""

    def __init__(self, config: WordConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.linear = nn.Linear(backbone.hidden_size, backbone.vocab_size)

    def supervise(self, hidden: Tensor, ids: Tensor) -> Tensor:
        return cross_entropy(self.predict(hidden), ids)

    def predict(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.linear(hidden)
        return logits


class FewWords(WordHead):
    def predict(self, hidden: Tensor) -> Tensor:
        return super().predict(hidden)[:, :-1]


class Undecided(ToyHead):
    """Its configuration says that it predicts tokens."""


def contract(head: type[Any], config: type[Any] = ToyConfig) -> type[HeadContract]:
    class Contract(HeadContract):
        plugin = __name__
        name = "toy"
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="head",
            name="toy",
            summary="a number",
            config=f"{__name__}:{config.__name__}",
            implementation=f"{__name__}:{head.__name__}",
        )

        def examples(self, config: Any) -> Sequence[tuple[Any, Any]]:
            return [("a", 1.0), ("b", -2.0), ("c", 0.5)]

        def bad_examples(self, config: Any) -> Sequence[tuple[Any, Any]]:
            return [("a", "loud")]

    return Contract


@pytest.mark.parametrize(
    ("head", "failures"),
    [
        (ToyHead, set()),
        (Summing, {"loss_is_the_mean_over_targets"}),
        (Detached, {"gradient_reaches_the_backbone"}),
        (FirstOnly, {"loss_is_the_mean_over_targets", "gradient_reaches_the_backbone"}),
        (OwnsTheBackbone, {"backbone_is_not_part_of_the_head"}),
        (PredictsTensors, {"predicts_one_answer_for_each_hidden_vector"}),
        (PredictsOne, {"predicts_one_answer_for_each_hidden_vector"}),
        (LooksAround, {"predicts_one_answer_for_each_hidden_vector"}),
        (PredictsNoTargets, {"predicts_one_answer_for_each_hidden_vector"}),
    ],
)
def test_a_mistake_fails_its_check(broken: Broken, head: type[ToyHead], failures: set[str]) -> None:
    assert broken(contract(head)) == failures


def test_token_heads_keep_it_without_examples(broken: Broken) -> None:
    assert broken(contract(WordHead, WordConfig)) == set()
    with pytest.raises(AssertionError, match=r"toy gives logits \[4, 31\]"):
        contract(FewWords, WordConfig)().test_predicts_one_answer_for_each_hidden_vector({})


def test_a_head_of_two_kinds_is_found_out() -> None:
    with pytest.raises(AssertionError, match="Undecided and WordConfig are not of one kind"):
        contract(Undecided, WordConfig)().test_says_what_supervises_it({})


def test_a_loss_that_is_no_scalar_is_found_out() -> None:
    with pytest.raises(AssertionError, match=r"the loss of toy has the shape \[3\]"):
        contract(Unreduced)().test_outputs_are_finite({})


def test_a_head_that_accepts_any_target_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyConfig, "prepare", lambda self, signal, target: (signal, target))
    with pytest.raises(AssertionError, match="accepts the target 'loud'"):
        contract(ToyHead)().test_prepares_queries_in_workers({})
