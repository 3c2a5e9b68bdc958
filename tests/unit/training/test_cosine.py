"""Warm-up and cosine, against hand-computed points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.testing import SchedulerContract
from modrwkv_core.training.config import CosineConfig
from modrwkv_core.training.cosine import CosineScheduler


class TestContract(SchedulerContract):
    plugin = "modrwkv_core.builtin"
    name = "cosine"
    configs = ({}, {"warmup_steps": 3, "min_lr_ratio": 0.0})


def test_rises_linearly_and_falls_as_a_cosine() -> None:
    scheduler = CosineScheduler(CosineConfig(warmup_steps=4, min_lr_ratio=0.1), 14)
    factors = [scheduler.factor(step) for step in (0, 1, 3, 4, 9, 14)]
    assert factors == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.55, 0.1])


@pytest.mark.parametrize(("steps", "warmup"), [(50, 5), (1000, 100), (100_000, 100), (7, 0)])
def test_warm_up_is_short_in_short_phases(steps: int, warmup: int) -> None:
    scheduler = CosineScheduler(CosineConfig(), steps)
    assert next(step for step in range(steps) if scheduler.factor(step) == 1.0) == max(0, warmup - 1)


@given(st.integers(1, 500), st.integers(0, 200), st.floats(0, 1))
def test_stays_between_its_ends(steps: int, warmup: int, final: float) -> None:
    scheduler = CosineScheduler(CosineConfig(warmup_steps=warmup, min_lr_ratio=final), steps)
    factors = [scheduler.factor(step) for step in range(steps)]
    assert all(0.0 < factor <= 1.0 for factor in factors[: min(warmup, steps)])
    after = factors[min(warmup, steps) :]
    assert all(final - 1e-9 <= factor <= 1.0 for factor in after)
    assert after == sorted(after, reverse=True)
