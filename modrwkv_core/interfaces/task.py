"""The Task interface: what a trained model is evaluated on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.interfaces.config import TaskConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.record import Record, Turn

__all__ = ["Example", "Predictor", "Records", "Result", "Task"]

TaskConfigT = TypeVar("TaskConfigT", bound=TaskConfig)


class Predictor(Protocol):
    """What a task asks of a model."""

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int) -> list[str]:
        """Answer the last user turn of each conversation, greedily."""
        ...

    def forecast_all(self, series: Sequence[NDArray[np.float32]], horizon: int) -> list[NDArray[np.float32]]:
        """Continue each series ``[points, channels]`` by ``horizon`` points, in the units of the input."""
        ...


class Records(Protocol):
    """Records with random access: a :class:`~modrwkv_core.interfaces.source.Source`, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


@dataclass(frozen=True, slots=True)
class Example:
    """One question of a task, for the report.

    Attributes:
        record: The conversation, with the true answer as its last turn.
        prediction: What the model said: a text, or an array ``[horizon, channels]``.
        correct: Whether it was right; None where that is a matter of degree.
    """

    record: Record
    prediction: Any
    correct: bool | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a task found.

    Attributes:
        task: The task's name in the manifest.
        metric: What the score is, for example ``accuracy`` or ``mse``.
        score: The model's.
        higher_is_better: Direction of the score.
        baselines: Baselines' scores by name (``majority answer``, ``repeat last``, ...).
        count: Number of questions.
        details: Further metrics by name.
        examples: Some questions with the model's answers.
    """

    task: str
    metric: str
    score: float
    higher_is_better: bool
    baselines: dict[str, float]
    count: int
    details: dict[str, float] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)


class Task(ABC, Generic[TaskConfigT]):
    """An evaluation on held-out data.

    Args:
        name: The task's name in the manifest.
        config: What the manifest says of it.
        data: The records to ask, at least one.
        baseline_data: Training data that baselines may learn from, at least one record.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, name: str, config: TaskConfigT, data: Records, baseline_data: Records | None = None) -> None:
        self.name = name
        self.config = config
        self.data = data
        self.baseline_data = baseline_data

    @abstractmethod
    def run(self, model: Predictor, progress: Callable[[int, int], None]) -> Result:
        """Evaluate ``model``; ``progress(done, all)`` is called now and then.

        Raises:
            DataError: A record does not hold what the task asks about; the message names it.
        """
