"""Warm-up, stable, decay: and the constant schedule, which never decays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.training.config import ConstantConfig, WSDConfig
from modrwkv_core.training.constant import ConstantScheduler
from modrwkv_core.training.wsd import WSDScheduler


def factors(steps: int, **settings: Any) -> list[float]:
    scheduler = WSDScheduler(WSDConfig(**settings), steps)
    return [scheduler.factor(step) for step in range(steps)]


def test_rises_stays_and_falls_along_a_line() -> None:
    expected = [0.25, 0.5, 0.75, 1.0, *[1.0] * 12, 1.0, 0.75, 0.5, 0.25]
    assert factors(20, warmup_steps=4, decay=0.2) == pytest.approx(expected)


def test_falls_along_a_square_root_towards_the_lowest_rate() -> None:
    fallen = factors(100, warmup_steps=0, decay=0.04, shape="sqrt", min_lr_ratio=0.2)[-4:]
    assert fallen == pytest.approx([1.0, 1 - 0.8 * 0.5, 1 - 0.8 * 0.5**0.5, 1 - 0.8 * 0.75**0.5])


@given(steps=st.integers(1, 500), warmup=st.integers(0, 600), decay=st.floats(0, 1))
def test_never_rises_after_the_warm_up(steps: int, warmup: int, decay: float) -> None:
    after = factors(steps, warmup_steps=warmup, decay=decay)[min(warmup, steps) :]
    assert after == sorted(after, reverse=True)


def test_constant_stays_at_the_highest_rate() -> None:
    scheduler = ConstantScheduler(ConstantConfig(warmup_steps=2), 6)
    assert [scheduler.factor(step) for step in range(6)] == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]
