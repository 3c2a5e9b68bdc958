from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import pytest

from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import MetricContract

Broken = Callable[[type[Any]], set[str]]


class HitsConfig(MetricConfig):
    type: Literal["hits"] = "hits"


class Hits(Metric[HitsConfig]):
    higher_is_better = True

    def __init__(self, config: HitsConfig) -> None:
        super().__init__(config)
        self.seen: list[float] = []

    def update(self, prediction: Any, truth: Any) -> None:
        self.seen.append(float(prediction == truth))

    def compute(self) -> float:
        return sum(self.seen) / len(self.seen)


class Upside(Hits):
    higher_is_better = False


class Latest(Hits):
    def compute(self) -> float:
        return self.seen[0]


class Forgetful(Hits):
    def compute(self) -> float:
        score = super().compute()
        self.seen.append(0.0)
        return score


class Sharing(Hits):
    everything: ClassVar[list[float]] = []

    def __init__(self, config: HitsConfig) -> None:
        super().__init__(config)
        self.seen = self.everything


class Mute(Hits):
    def format(self, score: float) -> str:
        return ""


class Unsigned(Hits):
    def format_difference(self, difference: float) -> str:
        return f"{difference:.2f}"


class TooLong(Hits):
    def bar(self, score: float, scores: Sequence[float]) -> float:
        return 100 * score


def contract(metric: type[Hits]) -> type[MetricContract]:
    class Contract(MetricContract):
        plugin = __name__
        name = "hits"
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="metric",
            name="hits",
            summary="hits",
            config=f"{__name__}:HitsConfig",
            implementation=f"{__name__}:{metric.__name__}",
        )

        def samples(self, config: HitsConfig) -> list[tuple[Any, Any]]:
            return [("a", "a"), ("b", "b"), ("c", "d")]

        def worse(self, config: HitsConfig) -> list[tuple[Any, Any]]:
            return [("x", "a"), ("b", "b"), ("c", "d")]

    return Contract


@pytest.mark.parametrize(
    ("metric", "failures"),
    [
        (Hits, set()),
        (Upside, {"better_predictions_score_better"}),
        (Latest, {"scores_do_not_depend_on_the_order"}),
        (Forgetful, {"scores_do_not_depend_on_the_order"}),
        (Mute, {"scores_are_written_and_drawn"}),
        (Unsigned, {"scores_are_written_and_drawn"}),
        (TooLong, {"scores_are_written_and_drawn"}),
    ],
)
def test_a_mistake_fails_its_check(broken: Broken, metric: type[Hits], failures: set[str]) -> None:
    assert broken(contract(metric)) == failures


def test_shared_samples_are_found_out() -> None:
    with pytest.raises(AssertionError, match="two metrics share what they collect"):
        contract(Sharing)().test_new_metrics_are_independent({})
