"""The contract of metrics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from math import inf, isclose, isfinite, nan
from typing import Any, ClassVar

from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.testing.registration import ComponentContract, load

__all__ = ["MetricContract", "score"]


def score(metric: Metric[Any], *samples: tuple[Any, Any]) -> float:
    """Return what a new metric of that kind computes for pairs of a prediction and the true value."""
    fresh = metric.new()
    for prediction, truth in samples:
        fresh.update(prediction, truth)
    return fresh.compute()


class MetricContract(ComponentContract):
    """A metric; a subclass sets ``plugin``, ``name`` and ``configs`` and says what samples to try."""

    kind: ClassVar = "metric"
    config_base: ClassVar = MetricConfig
    interface: ClassVar = Metric

    @abstractmethod
    def samples(self, config: Any) -> Sequence[tuple[Any, Any]]:
        """Return two or more pairs of a prediction and the true value."""

    @abstractmethod
    def worse(self, config: Any) -> Sequence[tuple[Any, Any]]:
        """Return pairs that the metric must score worse than :meth:`samples`."""

    def metric(self, settings: Mapping[str, Any]) -> Metric[Any]:
        """Construct the metric."""
        metric: Metric[Any] = load(self.spec.implementation)(self.config(settings))
        return metric

    def test_better_predictions_score_better(self, settings: Mapping[str, Any]) -> None:
        """``higher_is_better`` says which of two scores is better, None that neither is; scores are finite.

        Remedy: set ``higher_is_better`` to the direction of ``compute``.
        """
        metric = self.metric(settings)
        good, bad = (score(metric, *pairs(metric.config)) for pairs in (self.samples, self.worse))
        assert isfinite(good), f"{self.name} scores {good}"
        if metric.higher_is_better is None:
            return
        better = good > bad if metric.higher_is_better else good < bad
        assert better, f"{self.name} scores {bad} for worse predictions than those that score {good}"

    def test_scores_do_not_depend_on_the_order(self, settings: Mapping[str, Any]) -> None:
        """Samples may come in any order, and ``compute`` may be called more than once.

        Remedy: let ``update`` only collect, and ``compute`` change nothing.
        """
        metric = self.metric(settings)
        samples = self.samples(metric.config)
        assert len(samples) > 1, f"{type(self).__name__}.samples must give two samples or more"
        forward, backward = score(metric, *samples), score(metric, *samples[::-1])
        assert isclose(forward, backward, rel_tol=1e-9), f"{self.name} scores {forward}, in another order {backward}"
        for prediction, truth in samples:
            metric.update(prediction, truth)
        assert metric.compute() == metric.compute(), f"{self.name} scores something else when it is asked again"

    def test_new_metrics_are_independent(self, settings: Mapping[str, Any]) -> None:
        """``new`` forgets all samples and shares none.

        Remedy: create what ``update`` collects in the constructor, never in the class.
        """
        metric = self.metric(settings)
        good, bad = self.samples(metric.config), self.worse(metric.config)
        expected = score(metric, *good[: len(bad)])
        first, second = metric.new(), metric.new()
        for (prediction, truth), (worse, same) in zip(good, bad, strict=False):
            first.update(prediction, truth)
            second.update(worse, same)
        assert first.compute() == expected, f"{self.name}: two metrics share what they collect"

    def test_scores_are_written_and_drawn(self, settings: Mapping[str, Any]) -> None:
        """Every score has words and a bar, NaN and infinity included; differences carry their sign.

        Remedy: keep ``format``, ``format_difference`` and ``bar`` as inherited, or let them take any number.
        """
        metric = self.metric(settings)
        assert metric.name, f"{self.name} has no name for tables"
        good, bad = (score(metric, *pairs(metric.config)) for pairs in (self.samples, self.worse))
        scores = [good, bad, nan, inf]
        for number in scores:
            assert metric.format(number), f"{self.name} writes nothing for {number}"
            bar = metric.bar(number, scores)
            assert not isfinite(number) or 0.0 <= bar <= 1.0, f"the bar of {number} is {bar} long, not 0 to 1"
        for difference, sign in ((0.25, "+"), (-0.25, "-")):
            words = metric.format_difference(difference)
            assert words.startswith(sign), f"{self.name} writes the difference {difference} as {words!r}"
