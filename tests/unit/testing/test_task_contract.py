from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import ExactMatchMetricConfig
from modrwkv_core.interfaces.config import Metrics, TaskConfig
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.task import Predictor, Task, TaskSample
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import TaskContract

Broken = Callable[[type[Any]], set[str]]


class LabelConfig(TaskConfig):
    type: Literal["label"] = "label"

    metrics: Metrics = (ExactMatchMetricConfig(),)
    """What labels are scored by."""


class Labels(Task[LabelConfig, TaskSample]):
    def sample(self, record: Record) -> TaskSample:
        target = record.turns[-1].parts[-1]
        if not isinstance(target, Target):
            raise DataError(f"{record.key} has no label")
        return TaskSample(record=record, prompt=record.turns[:-1], truth=target.value)

    def predict(self, model: Predictor, samples: Sequence[TaskSample]) -> Sequence[Any]:
        return model.predict([sample.prompt for sample in samples], self.config.head)

    def baselines(self) -> Mapping[str, Callable[[TaskSample], Any]]:
        source = self.data if self.baseline_data is None else self.baseline_data
        first = self.sample(source[0]).truth
        return {"first": lambda sample: first}


class Whole(Labels):
    def sample(self, record: Record) -> TaskSample:
        sample = super().sample(record)
        return TaskSample(record=record, prompt=record.turns, truth=sample.truth)


class Lazy(Labels):
    def predict(self, model: Predictor, samples: Sequence[TaskSample]) -> Sequence[Any]:
        return super().predict(model, samples[:1])


class Shuffling(Labels):
    def predict(self, model: Predictor, samples: Sequence[TaskSample]) -> Sequence[Any]:
        return super().predict(model, samples)[::-1]


class Cheating(Labels):
    def predict(self, model: Predictor, samples: Sequence[TaskSample]) -> Sequence[Any]:
        return ["nothing" for _ in super().predict(model, samples)]


class Nameless(Labels):
    def sample(self, record: Record) -> TaskSample:
        try:
            return super().sample(record)
        except DataError as error:
            raise DataError("something is wrong") from error


class Trusting(Labels):
    def sample(self, record: Record) -> TaskSample:
        last = record.turns[-1].parts[-1]
        return TaskSample(record=record, prompt=record.turns[:-1], truth=getattr(last, "value", "none"))


class Ignorant(Labels):
    def baselines(self) -> Mapping[str, Callable[[TaskSample], Any]]:
        assert self.baseline_data is None, "no training data, please"
        return super().baselines()


def record(key: str, label: str) -> Record:
    return Record(key, (Turn("user", (Media("audio", b""),)), Turn("assistant", (Target(None, label),))))


def contract(task: type[Labels]) -> type[TaskContract]:
    class Contract(TaskContract):
        plugin = __name__
        name = "label"
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="task",
            name="label",
            summary="labels",
            config=f"{__name__}:LabelConfig",
            implementation=f"{__name__}:{task.__name__}",
        )

        def records(self, config: LabelConfig) -> list[Record]:
            return [record("a:1", "dog"), record("a:2", "cat"), record("a:3", "dog")]

        def bad_records(self, config: LabelConfig) -> list[Record]:
            return [Record("a:4", (Turn("user", (Text("?"),)), Turn("assistant", (Text("!"),))))]

    return Contract


ASKS, BEATS = "asks_the_model_about_each_sample", "a_perfect_model_beats_every_baseline"


@pytest.mark.parametrize(
    ("task", "failures"),
    [
        (Labels, set()),
        (Whole, {"samples_are_questions_with_true_answers"}),
        (Cheating, {BEATS}),
        (Nameless, {"bad_records_are_refused"}),
        (Trusting, {"bad_records_are_refused"}),
        (Ignorant, {"baselines_learn_from_the_baseline_data"}),
    ],
)
def test_a_mistake_fails_its_check(broken: Broken, task: type[Labels], failures: set[str]) -> None:
    assert broken(contract(task)) == failures


def test_lost_and_mixed_predictions_are_found_out() -> None:
    with pytest.raises(AssertionError, match="gives 1 predictions for 3"):
        contract(Lazy)().test_asks_the_model_about_each_sample({})

    class Two(contract(Shuffling)):  # type: ignore[misc]
        def records(self, config: LabelConfig) -> list[Record]:
            return [record("a:1", "dog"), record("a:2", "cat")]

    with pytest.raises(AssertionError, match=r"scores 0\.0 in a batch, 1\.0 one by one"):
        Two().test_asks_the_model_about_each_sample({})
