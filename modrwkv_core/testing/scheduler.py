"""The contract of schedulers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from modrwkv_core.interfaces.config import SchedulerConfig
from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.testing.registration import ComponentContract, load

__all__ = ["SchedulerContract"]

LENGTHS = (1, 2, 7, 300)


class SchedulerContract(ComponentContract):
    """A scheduler; a subclass sets ``plugin``, ``name`` and ``configs``."""

    kind: ClassVar = "scheduler"
    config_base: ClassVar = SchedulerConfig
    interface: ClassVar = Scheduler

    def scheduler(self, settings: Mapping[str, Any], steps: int) -> Scheduler[Any]:
        """Build it for a phase of so many steps."""
        scheduler: Scheduler[Any] = load(self.spec.implementation)(self.config(settings), steps)
        return scheduler

    def test_factors_are_fractions_of_the_highest_rate(self, settings: Mapping[str, Any]) -> None:
        """Each factor is a finite number from 0 to 1: the phase's ``lr`` is the highest learning rate.

        Remedy: scale the factors by their highest.
        """
        for steps in LENGTHS:
            scheduler = self.scheduler(settings, steps)
            factors = [scheduler.factor(step) for step in range(steps)]
            wrong = [factor for factor in factors if not (math.isfinite(factor) and 0.0 <= factor <= 1.0)]
            assert not wrong, f"{self.name} gives the factor {wrong[0]} in a phase of {steps} steps"
            assert any(factors), f"{self.name} gives 0 in every step of a phase of {steps} steps"

    def test_factor_depends_on_the_step_alone(self, settings: Mapping[str, Any]) -> None:
        """Asked in any order, and of a new object, the factors are the same: a resumed run asks so.

        Remedy: compute the factor from ``step``, ``self.steps`` and ``self.config``, and keep no counter.
        """
        steps = max(LENGTHS)
        forwards = self.scheduler(settings, steps)
        wanted = [forwards.factor(step) for step in range(steps)]
        backwards = [forwards.factor(step) for step in reversed(range(steps))][::-1]
        anew = [self.scheduler(settings, steps).factor(step) for step in (0, steps // 2, steps - 1)]
        assert wanted == backwards, f"{self.name} gives other factors when it is asked in another order"
        assert anew == [wanted[0], wanted[steps // 2], wanted[-1]], f"two objects of {self.name} differ"
