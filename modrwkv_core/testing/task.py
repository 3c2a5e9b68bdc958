"""The contract of tasks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.config import TaskConfig
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.interfaces.record import Record, Turn
from modrwkv_core.interfaces.task import Task, TaskSample
from modrwkv_core.testing.registration import ComponentContract, installed, load

__all__ = ["TaskContract"]


class TaskContract(ComponentContract):
    """A task; a subclass sets ``plugin``, ``name`` and ``configs`` and says what records to try."""

    kind: ClassVar = "task"
    config_base: ClassVar = TaskConfig
    interface: ClassVar = Task

    @abstractmethod
    def records(self, config: Any) -> Sequence[Record]:
        """Return two or more records that the task can ask about, with different true answers."""

    def bad_records(self, config: Any) -> Sequence[Record]:
        """Return records that the task must refuse."""
        return ()

    def answer(self, sample: Any) -> Any:
        """Say what a perfect model answers to a sample's prompt; by default its truth."""
        return sample.truth

    def task(self, settings: Mapping[str, Any]) -> Task[Any, Any]:
        """Construct the task on :meth:`records`."""
        config = self.config(settings)
        task: Task[Any, Any] = load(self.spec.implementation)(config, self.records(config), None)
        assert len(task.data) > 1, f"{type(self).__name__}.records must give two records or more"
        return task

    def samples(self, task: Task[Any, Any]) -> list[Any]:
        """Take all records apart."""
        return [task.sample(task.data[index]) for index in range(len(task.data))]

    def metrics(self, task: Task[Any, Any]) -> list[Metric[Any]]:
        """Construct the metrics of the task's configuration."""
        return [installed().implementation("metric", config.type)(config) for config in task.config.metrics]

    def test_samples_are_questions_with_true_answers(self, settings: Mapping[str, Any]) -> None:
        """A sample keeps its record, has a true answer, and its prompt ends with the user's turn or is empty.

        Remedy: give the turns before the assistant's last one as ``prompt``.
        """
        task = self.task(settings)
        for index, sample in enumerate(self.samples(task)):
            assert isinstance(sample, TaskSample), f"`sample` of {self.name} gives a {type(sample).__name__}"
            assert sample.record is task.data[index], f"{self.name} gives a sample of another record"
            assert sample.truth is not None, f"{sample.record.key} has no true answer in {self.name}"
            roles = [turn.role for turn in sample.prompt]
            assert roles[-1:] in (["user"], []), f"the prompt of {sample.record.key} has the turns {roles}"

    def test_asks_the_model_about_each_sample(self, settings: Mapping[str, Any]) -> None:
        """The model is asked the prompts, whatever the batch, and gives one prediction for each sample.

        Remedy: let ``predict`` ask the model about ``sample.prompt`` of all samples, in order.
        """
        task = self.task(settings)
        samples = self.samples(task)
        oracle = _Oracle([(sample.prompt, self.answer(sample)) for sample in samples])
        together = list(task.predict(oracle, samples))
        assert len(together) == len(samples), f"{self.name} gives {len(together)} predictions for {len(samples)}"
        alone = [prediction for sample in samples for prediction in task.predict(oracle, [sample])]
        for metric in self.metrics(task):
            scores = [_score(metric, predictions, samples) for predictions in (together, alone)]
            assert scores[0] == scores[1], f"{self.name} scores {scores[0]} in a batch, {scores[1]} one by one"

    def test_a_perfect_model_beats_every_baseline(self, settings: Mapping[str, Any]) -> None:
        """True answers score at least as well as any baseline, with every metric of the configuration.

        Remedy: give ``truth``, predictions and baselines in one form, which the default metrics compare.
        """
        task = self.task(settings)
        samples = self.samples(task)
        oracle = _Oracle([(sample.prompt, self.answer(sample)) for sample in samples])
        for metric in self.metrics(task):
            model = _score(metric, task.predict(oracle, samples), samples)
            for name, guess in task.baselines().items():
                baseline = _score(metric, [guess(sample) for sample in samples], samples)
                if metric.higher_is_better is None:
                    continue
                fine = model >= baseline if metric.higher_is_better else model <= baseline
                assert fine, (
                    f"{self.name}: a perfect model scores {metric.name} {model}, the baseline {name} {baseline}"
                )

    def test_baselines_learn_from_the_baseline_data(self, settings: Mapping[str, Any]) -> None:
        """Baselines also work where the manifest gives them training data.

        Remedy: learn from ``baseline_data`` if it is not None, else from ``data`` or from nothing.
        """
        task = self.task(settings)
        learned = type(task)(task.config, task.data, self.records(task.config))
        for metric in self.metrics(task):
            for guess in learned.baselines().values():
                samples = self.samples(learned)
                _score(metric, [guess(sample) for sample in samples], samples)

    def test_bad_records_are_refused(self, settings: Mapping[str, Any]) -> None:
        """What the task cannot ask about is a ``DataError`` that begins with the record's key.

        Remedy: raise ``DataError(f"{record.key} ...")`` in ``sample``.
        """
        task = self.task(settings)
        for record in self.bad_records(task.config):
            message = _refusal(task, record)
            assert message is not None, f"{self.name} accepts {record}"
            assert message.startswith(record.key), f"the error does not begin with {record.key}: {message}"


def _refusal(task: Task[Any, Any], record: Record) -> str | None:
    try:
        task.sample(record)
    except DataError as error:
        return error.message
    return None


class _Oracle:
    """Gives the answer that belongs to a prompt, however it is asked."""

    def __init__(self, answers: Sequence[tuple[Sequence[Turn], Any]]) -> None:
        self._answers = {id(prompt): answer for prompt, answer in answers}
        # Texts that are scored from their beginning share one prompt: the empty one.
        self._texts = {(id(prompt), answer) for prompt, answer in answers if isinstance(answer, str)}

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int, head: str | None = None) -> list[str]:
        return self._all(conversations)

    def log_likelihoods(
        self,
        conversations: Sequence[Sequence[Turn]],
        texts: Sequence[str],
        head: str | None = None,
        *,
        chat: bool = True,
    ) -> list[LogLikelihood]:
        self._all(conversations)
        true = [(id(turns), text) in self._texts for turns, text in zip(conversations, texts, strict=True)]
        return [
            LogLikelihood(0.0 if right else -1000.0 * len(text), len(text), right)
            for text, right in zip(texts, true, strict=True)
        ]

    def predict(self, conversations: Sequence[Sequence[Turn]], head: str | None = None) -> list[Any]:
        return self._all(conversations)

    def forecast_all(
        self, conversations: Sequence[Sequence[Turn]], horizon: int, head: str | None = None
    ) -> list[Forecast]:
        return [Forecast(np.asarray(continuation)) for continuation in self._all(conversations)]

    def _all(self, conversations: Sequence[Sequence[Turn]]) -> list[Any]:
        strange = [turns for turns in conversations if id(turns) not in self._answers]
        assert not strange, f"the model is asked something else than a sample's prompt: {strange[:1]}"
        return [self._answers[id(turns)] for turns in conversations]


def _score(metric: Metric[Any], predictions: Sequence[Any], samples: Sequence[Any]) -> float:
    fresh = metric.new()
    for prediction, sample in zip(predictions, samples, strict=True):
        fresh.update(prediction, sample.truth)
    return fresh.compute()
