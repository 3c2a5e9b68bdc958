"""Metrics of steps: means, delayed values, shares."""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modrwkv_core.data.feature_cache import CacheableItem
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.training import metrics as module
from modrwkv_core.training.metrics import MetricsAccumulator, StepMetrics, peak_memory
from modrwkv_core.training.world import World

ALONE = World(0, 1, torch.device("cpu"))


def batch(tokens: int, *counts: tuple[str, int], samples: int = 1) -> Any:
    cached = {4: CacheableItem({}, 4, "d", torch.zeros(4, 1)), 2: CacheableItem({}, 2, "d"), 7: MediaItem({}, 7)}
    media = [SimpleNamespace(modality=name, count=count, item=cached[count]) for name, count in counts]
    return SimpleNamespace(ids=torch.zeros(1, tokens), keys=("k",) * samples, media=media)


def step(number: int, **values: float) -> StepMetrics:
    return StepMetrics(number, ("a", "b"), tuple(values), torch.tensor(list(values.values()), dtype=torch.float64))


numbers = st.floats(-1e6, 1e6)


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, st.none() | numbers), min_size=1, max_size=8), st.integers(0, 8))
def test_means_are_those_of_steps_wherever_values_are_fetched(losses: list[Any], cut: int) -> None:
    accumulator = MetricsAccumulator()
    for index, (first, second) in enumerate(losses):
        accumulator.add(step(index, first=first, **({} if second is None else {"second": second})))
        accumulator.add_batch(batch(3))
        if index == cut:
            assert accumulator.fetch() is None
            accumulator.reset(accumulator.state())  # as a resumed run
    assert accumulator.fetch() is None
    means = accumulator.means(ALONE)
    for place, name in enumerate(("first", "second")):
        given_values = [pair[place] for pair in losses if pair[place] is not None]
        assert (name in means) == bool(given_values)
        if given_values:
            total = 0.0
            for value in given_values:
                total += value
            assert means[name] == total / len(given_values)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite_is_found(broken: float) -> None:
    accumulator = MetricsAccumulator()
    for number, loss in enumerate([1.0, 2.0, broken, 3.0, math.nan], start=1):
        accumulator.add(step(number, loss=loss, norm=1.0))
    assert accumulator.pending == 5
    found = accumulator.fetch()
    assert found is not None
    assert (found.step, found.keys) == (3, ("a", "b"))


def test_rates_and_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    accumulator = MetricsAccumulator(peak_flops=1000.0)

    def loading() -> Any:
        nonlocal now
        for tokens in (30, 50):
            now += 1.0
            yield batch(tokens, ("image", 4), ("image", 2), ("audio", 7), samples=2)

    for loaded in accumulator.waiting(loading()):
        now += 3.0
        accumulator.add(step(1, loss=1.0))
        accumulator.add_batch(loaded, flops=400.0)
    accumulator.fetch()
    means = accumulator.means(ALONE)
    assert means["tokens_per_second"] == 80 / 8
    assert means["samples_per_second"] == 4 / 8
    assert means["data_wait"] == 2 / 8
    assert means["tokens_per_step"] == 80 / 2
    assert means["feature_cache_hits"] == 1 / 2
    assert means["padding"] == pytest.approx(1 - 13 / 15)
    assert means["mfu"] == 800 / 8 / 1000
    accumulator.reset()
    now += 1.0
    assert accumulator.means(ALONE) == {"tokens_per_second": 0, "samples_per_second": 0, "data_wait": 0, "mfu": 0}


def test_batches_pass_in_order_and_errors_too() -> None:
    def failing() -> Any:
        yield from (1, 2)
        raise KeyError("gone")

    passed = []
    with pytest.raises(KeyError, match="gone"):
        passed.extend(MetricsAccumulator().waiting(failing()))
    waiting = MetricsAccumulator().waiting(iter(range(4)))
    assert all(later == earlier + 1 for earlier, later in pairwise(waiting))


def test_the_memory_of_this_process_is_known() -> None:
    before = peak_memory(torch.device("cpu"))
    held = torch.ones(2**26)
    assert 0.05 < before <= peak_memory(torch.device("cpu")) < 2**14
    assert held.sum() > 0
