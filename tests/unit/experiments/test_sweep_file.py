"""A sweep's file: what it may say, and errors that name the line, the key and the remedy."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import ManifestError
from modrwkv_core.experiments.config import LoadedSweep, Parameter, load_sweep
from modrwkv_core.experiments.objective import find_objective
from modrwkv_core.experiments.space import check_space, grid, overrides
from modrwkv_core.manifest.document import parse
from modrwkv_core.manifest.load import load_manifest

TALKS = {"task": {"type": "exact_match", "max_tokens": 4}, "data": {"source": "chat", "path": "talks.jsonl"}}
WAVES = {
    "task": {"type": "forecast", "metrics": [{"type": "mse"}, {"type": "coverage", "lower": 0.25, "upper": 0.75}]},
    "data": {"source": "csv_windows", "path": "waves.csv", "context_length": 24, "horizon": 6},
}


@pytest.fixture
def sweep(tiny_manifest: Callable[..., Path], tmp_path: Path) -> Callable[..., LoadedSweep]:
    """Load a sweep of the tiny manifest."""
    tiny_manifest(evaluation={"talks": TALKS, "waves": WAVES})

    def load(parameters: str = "phases.align.lr: [1.0e-3]", objective: str = "loss/lm", more: str = "") -> LoadedSweep:
        path = tmp_path / "sweep.yaml"
        text = f"manifest: project/manifest.yaml\nobjective: {objective}\nparameters:\n  {parameters}\n{more}"
        path.write_text(text)
        return load_sweep(path)

    return load


@pytest.mark.parametrize(
    ("parameters", "more", "message"),
    [
        ("a: 3", "", ":4: parameters.a: must be a mapping of keys to values, not 3"),
        ("a: []", "", ":4: parameters.a.values: list should have at least 1 item"),
        ("a: {low: 1}", "", ":4: parameters.a: give a list of values, or a range with `low` and `high`"),
        ("a: {low: 1, high: one}", "", ":4: parameters.a.high: must be a number, not 'one'"),
        ("a: {low: 2, high: 1}", "", ":4: parameters.a: `low` must be below `high`"),
        ("a: {low: 0, high: 1, log: true}", "", ":4: parameters.a: a range with `log: true` begins above 0"),
        ("a: {values: [1], low: 0}", "", ":4: parameters.a: give either `values` or a range"),
        ("a: {lo: 1, high: 2}", "", ":4: parameters.a.lo: unknown key"),
        ("a: {low: 0.0, high: 1.0}", "", "a grid needs the values of a: give a list, or a range with `step`"),
        ("a: [1]", "method: tpe", "`method: tpe` needs a number of `trials`"),
        ("a: [1]", "trials: 3", "a grid tries every combination: drop `trials`"),
        ("a: [1]", "seeds: [1, 1]", "a seed is given twice"),
        ("a: [1]", "methods: grid", ":5: methods: unknown key"),
        ("a: [1]", "method: bayes", ":5: method: input should be 'grid', 'random' or 'tpe'"),
    ],
)
def test_errors_name_line_and_key(sweep: Callable[..., LoadedSweep], parameters: str, more: str, message: str) -> None:
    with pytest.raises(ManifestError) as error:
        sweep(parameters, more=more)
    assert message in str(error.value)
    assert "sweep.yaml:" in str(error.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("objective: loss\nmanifest: gone.yaml\nparameters: {a: [1]}\n")
    with pytest.raises(ManifestError, match=r"sweep\.yaml:2: manifest: there is no file .*gone\.yaml"):
        load_sweep(tmp_path / "sweep.yaml")
    (tmp_path / "sweep.yaml").write_text("- 1\n")
    with pytest.raises(ManifestError, match="a sweep is a mapping"):
        load_sweep(tmp_path / "sweep.yaml")


def test_a_sweep_in_place_of_a_manifest_is_called_a_sweep(sweep: Callable[..., LoadedSweep], tmp_path: Path) -> None:
    path = sweep().path
    message = r"sweep\.yaml:1: (extends: )?this is the file of a sweep.*\nhint: run `modrwkv sweep FILE`"
    with pytest.raises(ManifestError, match=message):
        load_manifest(path)
    (tmp_path / "extending.yaml").write_text("extends: sweep.yaml\n")
    with pytest.raises(ManifestError, match=message):
        load_manifest(tmp_path / "extending.yaml")


def test_values_that_the_manifest_refuses_name_their_parameter(sweep: Callable[..., LoadedSweep]) -> None:
    with pytest.raises(ManifestError) as error:
        check_space(sweep("backbone.hidden_size: [64, 100]"), [])
    assert "sweep.yaml:4: parameters.backbone.hidden_size: the manifest refuses 100:\n" in str(error.value)
    assert "not a multiple of head_dim" in str(error.value)
    with pytest.raises(ManifestError, match=r"parameters\.phases\.aline\.lr"):
        check_space(
            sweep("phases.aline.lr: {low: 1.0e-4, high: 1.0e-3, log: true}", more="method: random\ntrials: 2"), []
        )
    compressors = "modalities.series.compressor: [{type: none}, {type: conv1d, kernel: 3, stride: 2}]"
    loaded = check_space(sweep(compressors), ["phases.align.steps=2"])
    assert loaded.manifest.modalities["series"].compressor is not None
    assert loaded.manifest.modalities["series"].compressor.type == "none"
    assert loaded.manifest.phases[0].steps == 2


@pytest.mark.parametrize(
    ("objective", "direction"),
    [
        ("talks/exact_match", "maximize"),
        ("waves/mse", "minimize"),
        ("waves/wql", "minimize"),  # which the task adds for heads with quantiles
        ("loss/forecast", "minimize"),
        ("loss", "minimize"),
    ],
)
def test_the_metric_says_which_direction_is_good(
    sweep: Callable[..., LoadedSweep], objective: str, direction: str
) -> None:
    loaded = sweep(objective=objective)
    assert find_objective(loaded.sweep, check_space(loaded, []), "sweep.yaml").direction == direction


@pytest.mark.parametrize(
    ("objective", "message", "hint"),
    [
        ("talks/exact_matches", "whether a high talks/exact_matches is good is not known", "add `direction"),
        ("waves/coverage_50", "whether a high waves/coverage_50 is good is not known", "add `direction"),
        ("talk/exact_match", "the manifest has no 'talk/exact_match'", "did you mean 'talks/exact_match'?"),
        ("valid/lm", "valid/lm needs validation data", "add `data.valid` to the manifest"),
        ("tokens_per_second", "the manifest has no 'tokens_per_second'", "needs a `direction`"),
    ],
)
def test_an_unknown_objective_is_refused(
    sweep: Callable[..., LoadedSweep], objective: str, message: str, hint: str
) -> None:
    loaded = sweep(objective=objective)
    with pytest.raises(ManifestError) as error:
        find_objective(loaded.sweep, check_space(loaded, []), "sweep.yaml")
    assert error.value.message == f"sweep.yaml: objective: {message}"
    assert hint in str(error.value.hint)


def test_any_logged_metric_decides_with_a_direction(sweep: Callable[..., LoadedSweep]) -> None:
    loaded = sweep(objective="tokens_per_second", more="direction: maximize")
    assert find_objective(loaded.sweep, check_space(loaded, []), "sweep.yaml").direction == "maximize"


def test_a_grid_holds_every_combination() -> None:
    parameters = {
        "a": Parameter.model_validate(["x", {"type": "y"}]),
        "b": Parameter(low=1, high=3),
        "c": Parameter(low=0.1, high=0.3, step=0.1),
    }
    points = grid(parameters)
    expected = itertools.product(["x", {"type": "y"}], [1, 2, 3], [0.1, 0.2, 0.3])
    assert [tuple(point) for point in points] == [("a", "b", "c")] * 18
    assert [(p["a"], p["b"], round(p["c"], 9)) for p in points] == list(expected)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("az09 @:#'\"\\é😀\n", max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(value=VALUES)
def test_overrides_carry_any_value(value: Any) -> None:
    (argument,) = overrides({"a.b": value})
    name, _, text = argument.partition("=")
    assert name == "a.b"
    assert parse(text, "argument").plain() == value


def test_several_paths_get_the_same_value() -> None:
    assert overrides({"a.b, c.0.d": [1], "e": "x"}) == ["a.b=[1]", "c.0.d=[1]", 'e="x"']
