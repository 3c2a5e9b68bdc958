"""The optimizer of a phase, with a state that is saved by parameter name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor

from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.optimizer import Optimizer
from modrwkv_core.manifest.schema import Manifest, Phase
from modrwkv_core.model.build import build
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.registry import Registry
from modrwkv_core.training.ema import EMA
from modrwkv_core.training.plan import parameter_groups

__all__ = ["PhaseOptimizer"]

_EMA: Final = "ema/"


class PhaseOptimizer:
    """Clips gradients, sets learning rates, steps and averages; around any :class:`torch.optim.Optimizer`.

    Args:
        registry: Provides the optimizer.
        model: Its trainable parameters are optimized.
        manifest: Which parts there are.
        phase: The optimizer, learning rates, clipping and averaging.
    """

    def __init__(self, registry: Registry, model: MultimodalModel, manifest: Manifest, phase: Phase) -> None:
        self._phase = phase
        groups = parameter_groups(model, manifest, phase)
        self._peaks = [group["lr"] for group in groups]
        self._named = {
            name: parameter for group in groups for name, parameter in zip(group["names"], group["params"], strict=True)
        }
        config = phase.optimizer
        self._optimizer: Optimizer[Any] = build(registry, "optimizer", config.type, config, groups)
        self._ema = None if phase.ema is None else EMA(phase.ema, self._named)

    def clip_grad_norm(self) -> Tensor:
        """Clip the gradients' norm and return what it was before, as a scalar on their device."""
        gradients = [parameter.grad for parameter in self._named.values() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self._phase.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._named.values(), self._phase.max_grad_norm, norm)
        return norm

    def step(self, factor: float) -> None:
        """Take a step at ``factor`` times the groups' highest learning rates and clear the gradients."""
        for group, peak in zip(self._optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        with guard(self._optimizer.origin, "step()"):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._ema is not None:
            self._ema.update()

    def finish(self) -> None:
        """Give the phase's weights the values that it ends with: their moving average, if it has one."""
        if self._ema is not None:
            self._ema.copy_to_parameters()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as ``<key>/<part>:<parameter>``, with moving averages as the key ``ema``.

        Numbers become tensors.

        Raises:
            ComponentError: The state holds something else.
        """
        tensors = {} if self._ema is None else {f"{_EMA}{name}": each for name, each in self._ema.tensors().items()}
        for name, parameter in self._named.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, (int, float)):
                    value = torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
                if not isinstance(value, Tensor):
                    raise ComponentError(
                        f"the state {key} of {name} is a {type(value).__name__}, not a tensor or number",
                        component=f"optimizer/{self._phase.optimizer.type}",
                    )
                tensors[f"{key}/{name}"] = value
        return tensors

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`tensors` gave.

        Raises:
            CheckpointError: They are those of other parameters, or of another optimizer.
        """
        if self._ema is not None:
            averages = {name.removeprefix(_EMA): each for name, each in tensors.items() if name.startswith(_EMA)}
            self._ema.load_tensors(averages)
            tensors = {name: each for name, each in tensors.items() if not name.startswith(_EMA)}
        state: dict[str, dict[str, Any]] = {name: {} for name in self._named}
        unknown = []
        for full_name, tensor in tensors.items():
            key, _, name = full_name.partition("/")
            if name not in state:
                unknown.append(full_name)
            else:
                state[name][key] = tensor
        if unknown:
            raise CheckpointError(
                f"the optimizer's state is that of other parameters: {', '.join(sorted(unknown)[:4])}",
                hint="resume with the manifest of the run",
            )
        indexed = {index: values for index, values in enumerate(state.values()) if values}
        groups = self._optimizer.state_dict()["param_groups"]
        try:
            self._optimizer.load_state_dict({"state": indexed, "param_groups": groups})
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the optimizer refuses its state: {error}",
                component=f"optimizer/{self._phase.optimizer.type}",
                hint="remove the newest checkpoint to use an earlier one",
            ) from error
