"""Warm-up and cosine, against hand-computed points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.training.schedule import learning_rate_factor


def test_rises_linearly_and_falls_as_a_cosine() -> None:
    factors = [learning_rate_factor(step, steps=14, warmup=4, final=0.1) for step in (0, 1, 3, 4, 9, 14)]
    assert factors == pytest.approx([0.25, 0.5, 1.0, 1.0, 0.55, 0.1])


@given(st.integers(1, 500), st.integers(0, 200), st.floats(0, 1))
def test_stays_between_its_ends(steps: int, warmup: int, final: float) -> None:
    factors = [learning_rate_factor(step, steps=steps, warmup=warmup, final=final) for step in range(steps)]
    assert all(0.0 < factor <= 1.0 for factor in factors[: min(warmup, steps)])
    after = factors[min(warmup, steps) :]
    assert all(final - 1e-9 <= factor <= 1.0 for factor in after)
    assert after == sorted(after, reverse=True)
