"""The Scheduler interface: the learning rate over a phase."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from modrwkv_core.interfaces.config import SchedulerConfig
from modrwkv_core.interfaces.guard import Origin

__all__ = ["Scheduler"]

SchedulerConfigT = TypeVar("SchedulerConfigT", bound=SchedulerConfig)


class Scheduler(ABC, Generic[SchedulerConfigT]):
    """A pure function of the step, so that a resumed run needs no saved state.

    Args:
        config: Its configuration.
        steps: Optimizer steps of the phase.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: SchedulerConfigT, steps: int) -> None:
        self.config = config
        self.steps = steps

    @abstractmethod
    def factor(self, step: int) -> float:
        """Return the factor of the phase's ``lr`` for a step, counted from 0 to ``steps - 1``."""
