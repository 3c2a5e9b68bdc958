"""When waiting for a better validation ends, against a plain search over all values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.training.config import AdamWConfig, CosineConfig, FullConfig
from modrwkv_core.training.early_stopping import EarlyStopping


def phase(**early_stopping: Any) -> Phase:
    section = {"early_stopping": early_stopping} if early_stopping else {}
    components = {"finetuning": FullConfig(), "optimizer": AdamWConfig(), "scheduler": CosineConfig()}
    basics = {"name": "one", "train": ["backbone"], "lr": 1.0, "steps": 99, "eval_every": 1}
    return Phase.model_validate(basics | components | section)


@given(
    values=st.lists(st.floats(-100, 100), min_size=1, max_size=30),
    patience=st.integers(1, 5),
    metric=st.sampled_from(["valid_loss", "modality_gain/image"]),
    resumed=st.sets(st.integers(0, 29)),
)
def test_the_best_is_the_first_of_the_best_and_patience_counts_from_it(
    values: list[float], patience: int, metric: str, resumed: set[int]
) -> None:
    section = phase(metric=metric, patience=patience)
    better = max if metric.startswith("modality_gain") else min
    stopping = EarlyStopping(section)
    for step, value in enumerate(values):
        improved = stopping.observe(step, {metric: value})
        seen = values[: step + 1]
        first = seen.index(better(seen))
        assert stopping.best is not None
        assert (stopping.best.step, stopping.best.value) == (first, seen[first])
        assert improved == (first == step)
        assert stopping.is_due == (step - first >= patience)
        if step in resumed:  # from a checkpoint of this step, whose validation is repeated
            stopping = EarlyStopping(section, stopping.best)
            assert stopping.observe(step, {metric: value}) == improved
            assert stopping.is_due == (step - first >= patience)


def test_a_small_step_forward_does_not_count() -> None:
    stopping = EarlyStopping(phase(patience=2, min_delta=0.1))
    assert [stopping.observe(step, {"valid_loss": value}) for step, value in enumerate([1.0, 0.95, 0.85, 0.8])] == [
        True,
        False,
        True,
        False,
    ]
    assert not stopping.is_due


def test_a_loss_that_is_not_finite_is_never_the_best() -> None:
    stopping = EarlyStopping(phase(patience=1))
    assert not stopping.observe(0, {"valid_loss": float("nan")})
    assert stopping.best is None
    assert stopping.observe(1, {"valid_loss": 1.0})
    assert not stopping.observe(2, {"valid_loss": float("nan")})
    assert stopping.is_due


def test_a_metric_that_was_not_measured_is_an_error_if_the_phase_waits_for_it() -> None:
    with pytest.raises(DataError, match=r"phase one gave no modality_gain/audio(.|\n)*it gave valid_loss"):
        EarlyStopping(phase(patience=1, metric="modality_gain/audio")).observe(0, {"valid_loss": 1.0})
    stopping = EarlyStopping(phase())
    assert not stopping.observe(0, {})
    stopping.observe(1, {"valid_loss": 1.0})
    stopping.observe(2, {"valid_loss": 2.0})
    assert not stopping.is_due, "a phase without the section goes on"
