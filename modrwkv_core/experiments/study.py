"""Which combinations a sweep has tried and will try: an optuna study in the sweep's folder.

Its file survives kills. A trial that had begun is still ``running`` there, and goes on when the sweep does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.experiments.config import Parameter, Sweep
from modrwkv_core.experiments.objective import Objective
from modrwkv_core.experiments.space import grid

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.trial import FrozenTrial, TrialState
except ImportError as error:
    raise ModRWKVError(
        f"modrwkv sweep needs optuna, which cannot be imported: {error}", hint="pip install 'modrwkv[sweep]'"
    ) from error

__all__ = ["STUDY", "Study", "Trial"]

STUDY: Final = "study.db"


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination.

    Attributes:
        number: Counts the trials from 0.
        point: The values by parameter.
        is_finished: Whether it is complete or has failed.
    """

    number: int
    point: Mapping[str, Any]
    is_finished: bool


class Study:
    """The trials of a sweep.

    Args:
        folder: The sweep's folder.
        sweep: What it tries.
        objective: What decides.
    """

    def __init__(self, folder: Path, sweep: Sweep, objective: Objective) -> None:
        self._sweep = sweep
        self._grid = grid(sweep.parameters) if sweep.method == "grid" else None
        self._distributions = {name: _distribution(parameter) for name, parameter in sweep.parameters.items()}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=f"sqlite:///{(folder / STUDY).absolute()}",
            study_name="sweep",
            direction=objective.direction,
            load_if_exists=True,
        )
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.params.keys() != sweep.parameters.keys():  # killed while it was drawn
                self.fail(trial.number)

    def trials(self) -> list[Trial]:
        """Return all trials so far."""
        return [
            Trial(trial.number, self._point(trial), trial.state.is_finished())
            for trial in self._study.get_trials(deepcopy=False)
            if trial.params.keys() == self._sweep.parameters.keys()
        ]

    @property
    def total(self) -> int:
        """How many trials the sweep has at its end."""
        if self._grid is not None:
            return len(self._grid)
        assert self._sweep.trials is not None, "validation asks for it"
        return self._sweep.trials

    def next(self) -> Trial | None:
        """Begin another trial and return it; None if there is none left."""
        count = len(self.trials())
        if count >= self.total:
            return None
        number = len(self._study.get_trials(deepcopy=False))
        if self._grid is not None:
            point = self._grid[count]
            params = {name: self._choice(name, value) for name, value in point.items()}
            trial = optuna.trial.create_trial(
                state=TrialState.RUNNING, params=params, distributions=self._distributions
            )
            self._study.add_trial(trial)
        else:
            # Seeded by the trial's number, so that a sweep that was killed does not draw the same again.
            seed = self._sweep.seed + number
            self._study.sampler = (
                optuna.samplers.RandomSampler(seed=seed)
                if self._sweep.method == "random"
                else optuna.samplers.TPESampler(seed=seed, constant_liar=self._sweep.parallel > 1)
            )
            self._study.ask(self._distributions)
        return next(trial for trial in self.trials() if trial.number == number)

    def complete(self, number: int, objective: float) -> None:
        """Say what a trial reached."""
        self._study.tell(number, objective)

    def fail(self, number: int) -> None:
        """Say that a trial has failed."""
        self._study.tell(number, state=TrialState.FAIL)

    def _choice(self, name: str, value: Any) -> Any:
        values = self._sweep.parameters[name].values
        return value if values is None else values.index(value)

    def _point(self, trial: FrozenTrial) -> dict[str, Any]:
        parameters = self._sweep.parameters
        return {
            name: trial.params[name] if parameter.values is None else parameter.values[trial.params[name]]
            for name, parameter in parameters.items()
        }


def _distribution(parameter: Parameter) -> BaseDistribution:
    """Return the distribution of a parameter; values of a list are drawn by their index, since they may be mappings."""
    if parameter.values is not None:
        return CategoricalDistribution(range(len(parameter.values)))
    if parameter.is_integer:
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
