"""A mistake in an optimizer, a scheduler, a fine-tuning method or a logger fails its check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.config import FinetuningConfig, OptimizerConfig, SchedulerConfig
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.optimizer import Optimizer
from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import FinetuningContract, LoggerContract, OptimizerContract, SchedulerContract

Broken = Callable[[type[Any]], set[str]]


class ToyOptimizerConfig(OptimizerConfig):
    type: Literal["toy"] = "toy"


class ToySchedulerConfig(SchedulerConfig):
    type: Literal["toy"] = "toy"


class ToyFinetuningConfig(FinetuningConfig):
    type: Literal["toy"] = "toy"


class Momentum(Optimizer[ToyOptimizerConfig]):
    lr: float | None = None
    decay: float | None = None

    def __init__(self, config: ToyOptimizerConfig, groups: Sequence[dict[str, Any]]) -> None:
        torch.optim.Optimizer.__init__(self, groups, {})
        self.averages: dict[Any, Tensor] = {}

    def average(self, parameter: Any) -> Tensor:
        average: Tensor = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
        return average

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr = group["lr"] if self.lr is None else self.lr
            decay = group["weight_decay"] if self.decay is None else self.decay
            for parameter in group["params"]:
                average = self.average(parameter).lerp_(parameter.grad, 0.5)
                parameter.mul_(1 - lr * decay).add_(average, alpha=-3 * lr)


class FixedRate(Momentum):
    lr = 1e-2


class NoDecay(Momentum):
    decay = 0.0


class StateElsewhere(Momentum):
    def average(self, parameter: Any) -> Tensor:
        return self.averages.setdefault(parameter, torch.zeros_like(parameter))


class OddState(Momentum):
    def average(self, parameter: Any) -> Tensor:
        self.state[parameter]["name"] = "odd"
        return super().average(parameter)


class Idle(Momentum):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


class Constant(Scheduler[ToySchedulerConfig]):
    def factor(self, step: int) -> float:
        return 1.0


class Counting(Constant):
    calls = 0

    def factor(self, step: int) -> float:
        self.calls += 1
        return 1.0 / self.calls


class TooHigh(Constant):
    def factor(self, step: int) -> float:
        return 2.0


class Everything(FinetuningMethod[ToyFinetuningConfig]):
    def trainable(self, part: Component) -> set[str]:
        return {name for name, _ in part.named_parameters()}


class Imagined(Everything):
    def trainable(self, part: Component) -> set[str]:
        return {"no.such.weight"}


class Growing(Everything):
    def prepare(self, part: Component) -> None:
        part.register_parameter(f"extra{len(list(part.parameters()))}", torch.nn.Parameter(torch.zeros(1)))


class Forgetful(Everything):
    def state_dict(self, part: Component) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, part: Component, tensors: Mapping[str, Tensor], source: Path) -> None:
        pass


def contract(base: type[Any], implementation: type[Any], config: type[Any]) -> type[Any]:
    return type(
        "Contract",
        (base,),
        {
            "plugin": __name__,
            "name": "toy",
            "lr": 1e-1,
            "spec": ComponentSpec(
                api=1,
                kind=base.kind,
                name="toy",
                summary="a toy",
                config=f"{__name__}:{config.__name__}",
                implementation=f"{__name__}:{implementation.__name__}",
            ),
        },
    )


@pytest.mark.parametrize(
    ("optimizer", "failures"),
    [
        (Momentum, set()),
        (FixedRate, {"learning_rate_of_each_step_counts"}),
        (NoDecay, {"weight_decay_of_each_group_counts"}),
        (StateElsewhere, {"resumed_steps_are_bit_identical"}),
        (OddState, {"state_holds_tensors_and_numbers"}),
        (Idle, {"it_learns", "weight_decay_of_each_group_counts"}),
    ],
)
def test_optimizers(broken: Broken, optimizer: type[Momentum], failures: set[str]) -> None:
    assert broken(contract(OptimizerContract, optimizer, ToyOptimizerConfig)) == failures


@pytest.mark.parametrize(
    ("scheduler", "failures"),
    [
        (Constant, set()),
        (Counting, {"factor_depends_on_the_step_alone"}),
        (TooHigh, {"factors_are_fractions_of_the_highest_rate"}),
    ],
)
def test_schedulers(broken: Broken, scheduler: type[Constant], failures: set[str]) -> None:
    assert broken(contract(SchedulerContract, scheduler, ToySchedulerConfig)) == failures


@pytest.mark.parametrize(
    ("method", "failures"),
    [
        (Everything, set()),
        (Imagined, {"parameters_that_learn_exist"}),
        (Growing, {"preparing_twice_changes_nothing"}),
        (Forgetful, {"saved_tensors_fill_a_new_part", "tensors_of_something_else_are_refused"}),
    ],
)
def test_finetuning_methods(broken: Broken, method: type[Everything], failures: set[str]) -> None:
    assert broken(contract(FinetuningContract, method, ToyFinetuningConfig)) == failures


def modrwkv_metrics(run: Path, step: int, loss: float) -> None:
    """Names an argument that it is not given."""


class TestLoggers:
    def test_arguments_that_do_not_exist_are_found(self) -> None:
        class Contract(LoggerContract):
            plugin = __name__

        with pytest.raises(AssertionError, match="names arguments that it is not given: loss"):
            Contract().test_it_listens_to_hooks_that_exist()
