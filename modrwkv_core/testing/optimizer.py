"""The contract of optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from modrwkv_core.interfaces.config import OptimizerConfig
from modrwkv_core.interfaces.optimizer import Optimizer
from modrwkv_core.testing.registration import ComponentContract, load

__all__ = ["OptimizerContract"]


class OptimizerContract(ComponentContract):
    """An optimizer; a subclass sets ``plugin``, ``name`` and ``configs``.

    Attributes:
        lr: A learning rate at which a small least-squares problem is learned within 200 steps.
    """

    kind: ClassVar = "optimizer"
    config_base: ClassVar = OptimizerConfig
    interface: ClassVar = Optimizer

    lr: ClassVar[float] = 1e-2

    def problem(self) -> nn.Module:
        """Return a small module to train, always the same."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))

    def build(self, module: nn.Module, settings: Mapping[str, Any], decay: float = 0.0) -> torch.optim.Optimizer:
        """Build it as the trainer does: matrices decay, the other parameters do not."""
        matrices = {name: each for name, each in module.named_parameters() if each.ndim >= 2}
        vectors = {name: each for name, each in module.named_parameters() if each.ndim < 2}
        groups = [
            {
                "params": list(parameters.values()),
                "names": [f"adapter:{name}" for name in parameters],
                "lr": self.lr,
                "weight_decay": weight_decay,
            }
            for parameters, weight_decay in ((matrices, decay), (vectors, 0.0))
        ]
        optimizer: torch.optim.Optimizer = load(self.spec.implementation)(self.config(settings), groups)
        return optimizer

    def step(self, module: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> float:
        """Take a step on data of ``seed`` and return the loss before it."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(16, 4, generator=generator)
        loss = (module(x) - x[:, :2] + x[:, 2:]).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def test_it_learns(self, settings: Mapping[str, Any]) -> None:
        """The loss of a small problem falls to less than half within 200 steps.

        Remedy: let ``step`` change the parameters against their gradients; set ``lr`` in the test for unusual scales.
        """
        module = self.problem()
        optimizer = self.build(module, settings)
        losses = [self.step(module, optimizer, seed) for seed in range(200)]
        assert losses[-1] < 0.5 * losses[0], f"{self.name} takes the loss from {losses[0]:.3g} to {losses[-1]:.3g} only"

    def test_learning_rate_of_each_step_counts(self, settings: Mapping[str, Any]) -> None:
        """With ``lr`` 0 in all groups a step changes nothing: the trainer sets it before each step.

        Remedy: read ``group["lr"]`` in ``step``.
        """
        module = self.problem()
        optimizer = self.build(module, settings)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        before = [parameter.detach().clone() for parameter in module.parameters()]
        self.step(module, optimizer, 0)
        for old, new in zip(before, module.parameters(), strict=True):
            assert torch.equal(old, new), f"{self.name} changes parameters at a learning rate of 0"

    def test_weight_decay_of_each_group_counts(self, settings: Mapping[str, Any]) -> None:
        """Weight decay changes the steps of the groups that have it.

        Remedy: read ``group["weight_decay"]`` in ``step``.
        """
        plain, decaying = self.problem(), self.problem()
        self.step(plain, self.build(plain, settings), 0)
        self.step(decaying, self.build(decaying, settings, decay=0.5), 0)
        changed = [
            not torch.equal(one, other) for one, other in zip(plain.parameters(), decaying.parameters(), strict=True)
        ]
        assert changed == [parameter.ndim >= 2 for parameter in plain.parameters()], (
            f"weight decay in {self.name} touches other parameters than those of its groups"
        )

    def test_state_holds_tensors_and_numbers(self, settings: Mapping[str, Any]) -> None:
        """The state of each parameter is a dictionary of tensors and numbers: that is what checkpoints hold.

        Remedy: keep state in ``self.state[parameter]``, nothing else in it, and none of it elsewhere.
        """
        module = self.problem()
        optimizer = self.build(module, settings)
        self.step(module, optimizer, 0)
        for values in optimizer.state.values():
            for key, value in values.items():
                assert isinstance(value, (torch.Tensor, int, float)), (
                    f"the state {key!r} of {self.name} is a {type(value).__name__}"
                )

    def test_resumed_steps_are_bit_identical(self, settings: Mapping[str, Any]) -> None:
        """A new optimizer that is given the state takes the same steps.

        Remedy: keep all that a step depends on in ``self.state``; override ``load_state_dict`` for unusual dtypes.
        """
        module = self.problem()
        optimizer = self.build(module, settings, decay=0.1)
        for seed in range(3):
            self.step(module, optimizer, seed)
        again = self.problem()
        again.load_state_dict(module.state_dict())
        resumed = self.build(again, settings, decay=0.1)
        state = optimizer.state_dict()["state"]
        copied = {
            index: {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in values.items()}
            for index, values in state.items()
        }
        resumed.load_state_dict({"state": copied, "param_groups": resumed.state_dict()["param_groups"]})
        for seed in range(3, 6):
            self.step(module, optimizer, seed)
            self.step(again, resumed, seed)
        for one, other in zip(module.parameters(), again.parameters(), strict=True):
            assert torch.equal(one, other), f"resumed, {self.name} takes other steps"
