from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, RecallConfig
from modrwkv_core.evaluation.evaluator import run_task
from modrwkv_core.evaluation.recall import RecallTask
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.testing import TaskContract


def question(distance: Any, answer: str = "7", key: str = "stream 1") -> Record:
    turns = (Turn("user", (Text("What is A?"),)), Turn("assistant", (Text(answer),)))
    return Record(key, turns, {} if distance is None else {"distance": distance})


class TestContract(TaskContract):
    plugin = "modrwkv_core.builtin"
    name = "recall"
    configs = ({}, {"edges": [2]})

    def records(self, config: RecallConfig) -> list[Record]:
        return [question(0, "1"), question(5, "2")]

    def bad_records(self, config: RecallConfig) -> list[Record]:
        return [question(distance) for distance in (None, -1, 1.5, "4", True)]


@given(st.integers(0, 3000), st.lists(st.integers(1, 2000), min_size=1, max_size=6, unique=True).map(sorted))
def test_distances_fall_into_the_group_that_names_them(distance: int, edges: list[int]) -> None:
    group = RecallTask(RecallConfig(edges=tuple(edges)), [question(distance)]).group(question(distance), "7")
    match group.split():
        case ["distance", first, "to", last]:
            assert distance in range(int(first), int(last) + 1)
            assert int(last) + 1 in edges
        case ["distance", first, "and", "more"]:
            assert distance >= int(first) == edges[-1]
        case _:
            raise AssertionError(group)


class Forgetful:
    """Knows what was shown less than sixteen items ago."""

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int, head: str | None = None) -> list[str]:
        return ["7" if distance < 16 else "3" for distance in DISTANCES]


DISTANCES = [300, 2, 20, 15, 0, 16, 63, 1, 17]


def test_accuracy_by_distance_has_intervals_and_rising_groups() -> None:
    task = RecallTask(RecallConfig(), [question(distance) for distance in DISTANCES])
    model: Any = Forgetful()
    result = run_task("memory", task, [ExactMatch(ExactMatchMetricConfig())], model)
    found = {group: (scores[0].model, scores[0].interval) for group, scores in result.groups.items()}
    assert list(found) == ["distance 0 to 3", "distance 4 to 15", "distance 16 to 63", "distance 256 to 1023"]
    assert [score for score, _ in found.values()] == [1, 1, 0, 0]
    assert found["distance 16 to 63"][1] == (0, 0)
    assert result.scores[0].model == pytest.approx(4 / 9)
    assert result.scores[0].interval is not None


def test_edges_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="must rise, but are 16, 4"):
        RecallConfig(edges=(16, 4))
    with pytest.raises(DataError, match="'distance' should be a number of items"):
        RecallTask(RecallConfig(), []).group(question(None), "7")
