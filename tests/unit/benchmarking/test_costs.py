"""The grid, the crossings, the marks and the files of ``modrwkv bench multimodal``."""

from __future__ import annotations

import json
import math
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.benchmarking.costs import energy, measuring, memory
from modrwkv_core.benchmarking.costs.crossings import crossings, describe
from modrwkv_core.benchmarking.costs.grid import Cell, Grid
from modrwkv_core.benchmarking.costs.measuring import _Measuring
from modrwkv_core.benchmarking.costs.memory import bounded_memory, is_out_of_memory, peak_growth
from modrwkv_core.benchmarking.costs.plots import write_plots
from modrwkv_core.benchmarking.costs.report import WORKS, Cost, CostReport
from modrwkv_core.benchmarking.interleave import Timing
from modrwkv_core.benchmarking.roofline import Roofline
from modrwkv_core.errors import PluginError
from modrwkv_core.interfaces.guard import Origin, guard

NAMES = ("ours", "theirs")


# the grid


def test_each_axis_varies_alone_from_the_smallest_values() -> None:
    grid = Grid((2048, 512), (8, 1), (4, 1, 1))
    assert grid.curves(picture_tokens=100) == {
        "context": (Cell(512, 1, 1), Cell(2048, 1, 1)),
        "pictures": (Cell(2048, 1, 1), Cell(2048, 8, 1)),
        "batch size": (Cell(512, 1, 1), Cell(512, 1, 4)),
    }
    # Eight pictures of 60 tokens leave room in 512 tokens; of 64 they would leave none.
    assert grid.curves(picture_tokens=60)["pictures"][0].context == 512
    assert grid.curves(picture_tokens=64)["pictures"][0].context == 2048
    assert grid.curves(picture_tokens=999)["pictures"] == (Cell(2048, 1, 1), Cell(2048, 8, 1))


# crossings


@given(
    ours=st.tuples(st.floats(0.1, 10), st.floats(0, 1.4)),
    theirs=st.tuples(st.floats(0.1, 10), st.floats(1.6, 2.5)),
    places=st.lists(st.integers(1, 10**6), min_size=2, max_size=8, unique=True),
)
def test_power_laws_cross_where_algebra_says(
    ours: tuple[float, float], theirs: tuple[float, float], places: list[int]
) -> None:
    def curve(law: tuple[float, float]) -> dict[int, float]:
        return {place: law[0] * place ** law[1] for place in places}

    found = crossings(curve(ours), curve(theirs))
    solved = (ours[0] / theirs[0]) ** (1 / (theirs[1] - ours[1]))
    if min(places) * 1.001 < solved < max(places) / 1.001:
        assert len(found) == 1
        assert found[0] == pytest.approx(solved, rel=1e-6)
    elif not min(places) / 1.001 < solved < max(places) * 1.001:
        assert found == []


@given(st.dictionaries(st.integers(1, 1000), st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=12))
def test_the_cheaper_changes_as_often_as_curves_cross(costs: dict[int, tuple[int, int]]) -> None:
    ours, theirs = ({place: float(both[index]) for place, both in costs.items()} for index in (0, 1))
    signs = [math.copysign(1, a - b) for _, (a, b) in sorted(costs.items()) if a != b]
    changes = sum(before != after for before, after in pairwise(signs))
    found = crossings(ours, theirs)
    assert len(found) == changes
    assert found == sorted(found)
    assert [1 / point for point in found] == pytest.approx([1 / point for point in crossings(theirs, ours)])
    text = describe(ours, theirs, NAMES)
    assert text.count("then") == changes
    if changes:
        assert text.startswith(NAMES[0] if signs[0] < 0 else NAMES[1])
        assert text.split(" (")[0].endswith(NAMES[0] if signs[-1] < 0 else NAMES[1])


def test_curves_that_touch_cross_where_they_touch() -> None:
    assert crossings({1: 1.0, 4: 2.0, 16: 3.0}, {1: 2.0, 4: 2.0, 16: 1.0}) == [pytest.approx(4)]
    assert crossings({1: 1.0, 4: 2.0, 16: 1.0}, {1: 2.0, 4: 2.0, 16: 3.0}) == []
    assert describe({1: 2.0, 4: 2.0}, {1: 2.0, 4: 2.0}, NAMES) == "equal from 1 to 4"
    assert describe({1: 2.0, 4: 1.0}, {1: 3.0, 9: 2.0}, NAMES) == "ours is cheaper at 1"
    assert describe({1: 2.0}, {9: 2.0}, NAMES) == "no position where both were measured"


# memory


def test_the_memory_of_a_call_is_what_it_touches() -> None:
    result, growth = peak_growth(lambda: torch.ones(2**24).sum().item(), "cpu")
    assert result == 2**24
    assert abs(growth - 2**26) < 2**24, "the kernel counts pages of threads in batches"
    assert peak_growth(lambda: None, "cpu")[1] < 2**24


def test_memory_that_is_not_there_is_refused_and_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 2**28 + 2**27)
    with bounded_memory("cpu"):
        with pytest.raises(RuntimeError) as refused:
            torch.empty(2**28)
        assert torch.empty(2**22).numel() == 2**22
    assert is_out_of_memory(refused.value)
    assert is_out_of_memory(MemoryError())
    with pytest.raises(PluginError) as blamed, guard(Origin("backbone/their", "fake-their"), "forward()"):
        raise torch.OutOfMemoryError("512 MiB are not free")
    assert is_out_of_memory(blamed.value)
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


# energy


def test_the_energy_of_a_call_is_that_of_the_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = {"millijoules": 7000}

    class Nvml(SimpleNamespace):
        NVMLError = OSError

        def __init__(self) -> None:
            super().__init__(
                nvmlInit=lambda: None,
                nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
                nvmlDeviceGetTotalEnergyConsumption=lambda handle: {"GPU-1": counter["millijoules"]}[handle],
            )

    def run() -> None:
        counter["millijoules"] += 250

    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=1))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(energy, "_SECONDS", 0.0)
    assert energy.EnergyMeter("cuda").measure(run) == 0.25


def test_without_a_counter_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(energy.MissingCounterError, match="a CPU has no counter"):
        energy.EnergyMeter("cpu")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(energy.MissingCounterError, match="pip install nvidia-ml-py"):
        energy.EnergyMeter("cuda")


# marks


class Model:
    """Takes a second for each thousand tokens, and refuses more than a number of them."""

    def __init__(self, clock: list[float], most: int = 10**9) -> None:
        self._clock, self._most = clock, most

    def prefill(self, tokens: int) -> None:
        if tokens > self._most:
            raise MemoryError(f"{tokens} are too many")
        self._clock[0] += tokens / 1000

    train = prefill

    def decode(self, state: Any) -> None:
        raise AssertionError("prefill returns no state here")

    def demand(self, work: str, tokens: int, state: Any) -> tuple[float, float]:
        return 0.0, float(tokens)


def measured(
    monkeypatch: pytest.MonkeyPatch, models: list[int], contexts: list[int], limit: float
) -> dict[tuple[str, str, int], Cost]:
    clock = [0.0]

    def interleave(cases: dict[str, Any], **_: Any) -> dict[str, Timing]:
        found = {}
        for name, run in cases.items():
            before = clock[0]
            run()
            found[name] = Timing(clock[0] - before, clock[0] - before, 3)
        return found

    monkeypatch.setattr(measuring, "interleave", interleave)
    contenders: Any = {name: Model(clock, most) for name, most in zip(NAMES, models, strict=False)}
    prompts: Any = SimpleNamespace(batch=lambda cell: cell.context or None)
    cells = tuple(Cell(context, 1, 1) for context in contexts)
    found = _Measuring(contenders, prompts, "cpu", 0.0, limit, Roofline(1.0, 2000.0)).costs(
        {"context": cells, "pictures": cells[:1]}
    )
    costs = list(found)
    assert len(costs) == len(contexts) * len(WORKS) * len(contenders)  # the shared cell is measured once
    return {(cost.work, cost.name, cost.cell.context): cost for cost in costs}


def test_what_does_not_fit_is_marked_and_what_is_larger_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = measured(monkeypatch, [10**9, 1500], [1000, 2000, 4000], limit=100)
    assert costs["prefill", "ours", 4000].timing == Timing(4.0, 4.0, 3)
    assert costs["prefill", "ours", 4000].bound == 2.0
    assert costs["prefill", "theirs", 2000].bound is None
    assert costs["prefill", "theirs", 1000].status == "measured"
    refused, larger = (costs["prefill", "theirs", context] for context in (2000, 4000))
    assert (refused.status, refused.reason) == ("out of memory", "2000 are too many")
    assert (larger.status, larger.reason) == (refused.status, refused.reason)
    assert refused.timing is None
    assert refused.memory is None
    assert larger.timing is None
    assert costs["decoding", "theirs", 2000].status == "out of memory"
    assert costs["decoding", "theirs", 2000].reason == "its prompt could not be read"


def test_a_slow_call_is_made_once_and_larger_ones_are_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = measured(monkeypatch, [10**9], [1000, 4000, 8000, 16000], limit=3)
    assert [costs["prefill", "ours", context].status for context in (1000, 4000, 8000, 16000)] == [
        "measured",
        "measured",
        "too slow",
        "too slow",
    ]
    assert costs["prefill", "ours", 1000].timing == Timing(1.0, 1.0, 3)
    assert costs["prefill", "ours", 4000].timing == Timing(4.0, 4.0, 1)
    reasons = {costs["prefill", "ours", context].reason for context in (8000, 16000)}
    assert reasons == {"not tried, because 4,000 tokens, 1 picture, batch size 1 took 4 s"}


def test_pictures_without_room_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = measured(monkeypatch, [10**9], [0], limit=3)
    assert {cost.status for cost in costs.values()} == {"no room"}


def test_other_failures_are_not_taken_for_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Model, tokens: int) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Model, "train", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        measured(monkeypatch, [10**9], [1000], limit=100)


# the report and its plots


def example() -> CostReport:
    cells = (Cell(512, 1, 1), Cell(2048, 1, 1))
    report = CostReport("multimodal", {}, {"cpu": "abacus"}, NAMES, curves={"context": cells, "pictures": cells[:1]})
    for place, (ours, theirs) in zip(cells, ((2.0, 1.0), (8.0, 16.0)), strict=True):
        for name, seconds in zip(NAMES, (ours, theirs), strict=True):
            timing = Timing(seconds, seconds, 3)
            report.rows.append(Cost("prefill", name, place, place.context, timing=timing, memory=2**20, bound=0.5))
    report.rows.append(Cost("decoding", "theirs", cells[1], 8, status="out of memory", reason="too much"))
    return report


def test_table_json_and_sentences_keep_marked_cells(tmp_path: Path) -> None:
    report = example()
    report.write(tmp_path / "report.json")
    rows = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert len(rows) == 5
    assert rows[3]["tokens_per_second"] == 128
    assert rows[3]["memory_bytes"] == 2**20
    assert rows[3]["roofline_bound_seconds"] == 0.5
    assert rows[4]["status"] == "out of memory"
    assert rows[4]["median_seconds"] is rows[4]["tokens_per_second"] is None
    *_, last = report.table().splitlines()
    assert "out of memory" in last
    # In logarithms the ratio goes from 2 to 1/2: they cross half way between 512 and 2048.
    assert list(report.sentences()) == [
        "time of prefill over context: theirs is cheaper up to about 1,024, then ours (measured from 512 to 2,048)",
        "time of prefill over pictures: theirs is cheaper at 1",
        "memory of prefill over context: equal from 512 to 2,048",
        "memory of prefill over pictures: equal at 1",
    ]


def test_plots_name_the_crossing_and_the_mark(tmp_path: Path) -> None:
    [path] = write_plots(example(), tmp_path / "plots")
    assert path.name == "context.svg"
    text = path.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert len(text) < 150_000
    for label in ("1,024", "out of", "seconds of a call"):
        assert f"<!-- {label}" in text
