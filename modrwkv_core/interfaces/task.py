"""The Task interface: what a trained model is asked, and what the true answers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from modrwkv_core.interfaces.config import MetricConfig, TaskConfig
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Record, Turn

__all__ = ["Predictor", "Records", "Task", "TaskSample"]

TaskConfigT = TypeVar("TaskConfigT", bound=TaskConfig)


class Predictor(Protocol):
    """What a task asks of a model; a :class:`~modrwkv_core.inference.session.Session` is one.

    ``conversations`` end with the user's turn; ``head`` names a head, None takes the only one that can answer.
    """

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int, head: str | None = None) -> list[str]:
        """Let a token head answer each conversation greedily, in words."""
        ...

    def log_likelihoods(
        self,
        conversations: Sequence[Sequence[Turn]],
        texts: Sequence[str],
        head: str | None = None,
        *,
        chat: bool = True,
    ) -> list[LogLikelihood]:
        """Let a token head say how likely each text is as the answer to its conversation.

        Without the chat template, conversations are plain text, which may be empty, and texts go on from it.
        """
        ...

    def predict(self, conversations: Sequence[Sequence[Turn]], head: str | None = None) -> list[Any]:
        """Let a query head predict at the end of each conversation."""
        ...

    def forecast_all(
        self, conversations: Sequence[Sequence[Turn]], horizon: int, head: str | None = None
    ) -> list[Forecast]:
        """Let a forecast head continue the latest series of each conversation: ``[horizon, channels]`` each."""
        ...


class Records(Protocol):
    """Records with random access: a :class:`~modrwkv_core.interfaces.source.Source`, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSample:
    """A record taken apart for a task. A task may derive a class with more fields, for its baselines.

    Attributes:
        record: The record.
        prompt: What the model is asked: turns that end with the user's; none where a text is scored from its beginning.
        truth: What it should predict, in a form that the task's metrics compare.
        group: Samples of one group are also scored by themselves, under this name; None for none.
    """

    record: Record
    prompt: tuple[Turn, ...]
    truth: Any
    group: str | None = None


SampleT = TypeVar("SampleT", bound=TaskSample)


class Task(ABC, Generic[TaskConfigT, SampleT]):
    """Held-out records as questions with true answers. Metrics score the predictions; the task knows none of them.

    Args:
        config: What the manifest says of it.
        data: The records to ask, at least one.
        baseline_data: Training data that baselines may learn from, at least one record; None if there is none.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: TaskConfigT, data: Records, baseline_data: Records | None = None) -> None:
        self.config = config
        self.data = data
        self.baseline_data = baseline_data

    @abstractmethod
    def sample(self, record: Record) -> SampleT:
        """Take a record apart.

        Raises:
            DataError: The record does not hold what the task asks about; the message begins with its key.
        """

    @abstractmethod
    def predict(self, model: Predictor, samples: Sequence[SampleT]) -> Sequence[Any]:
        """Ask the model about a batch of samples and return one prediction for each, in the form of ``truth``."""

    def metrics(self, model: Predictor) -> Sequence[MetricConfig]:
        """Return what the predictions of ``model`` are scored by; by default what the configuration lists."""
        return self.config.metrics

    def baselines(self) -> Mapping[str, Callable[[SampleT], Any]]:
        """Return methods to compare the model with, by name: each predicts for one sample, without the model."""
        return {}
