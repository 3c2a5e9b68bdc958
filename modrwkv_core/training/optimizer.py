"""The optimizer of a phase, with a state that is saved by parameter name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.optimizer import Optimizer
from modrwkv_core.manifest.schema import Manifest, Phase
from modrwkv_core.model.build import build
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.registry import Registry
from modrwkv_core.training.ema import EMA
from modrwkv_core.training.plan import parameter_groups
from modrwkv_core.training.world import World

__all__ = ["PhaseOptimizer"]

_EMA: Final = "ema/"


class PhaseOptimizer:
    """Clips gradients, sets learning rates, steps and averages; around any :class:`torch.optim.Optimizer`.

    Args:
        registry: Provides the optimizer.
        model: Its trainable parameters are optimized.
        manifest: Which parts there are.
        phase: The optimizer, learning rates, clipping and averaging.
        world: The processes that train together.
    """

    def __init__(
        self, registry: Registry, model: MultimodalModel, manifest: Manifest, phase: Phase, world: World
    ) -> None:
        self._phase = phase
        self._model = model
        self._world = world
        groups = parameter_groups(model, manifest, phase)
        self._peaks = [group["lr"] for group in groups]
        self._named = {
            name: parameter for group in groups for name, parameter in zip(group["names"], group["params"], strict=True)
        }
        config = phase.optimizer
        self._optimizer: Optimizer[Any] = build(registry, "optimizer", config.type, config, groups)
        self._ema = None if phase.ema is None else EMA(phase.ema, self._named)

    def reduce_gradients(self, unused_parts: Collection[str]) -> Tensor:
        """Sum the gradients over all processes, clip their norm and return what it was before, on their device.

        Args:
            unused_parts: Parts, or modalities with all their parts, that the batch does not use: no process gives them
                a gradient, so the optimizer leaves them alone.
        """
        if self._world.size > 1:
            self._sum_gradients(unused_parts)
        gradients = [parameter.grad for parameter in self._named.values() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        if self._phase.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._named.values(), self._phase.max_grad_norm, norm)
        return norm

    def _sum_gradients(self, unused_parts: Collection[str]) -> None:
        used = {}
        heads = {f"heads.{name}" for name in self._model.token_heads()}
        unused = None if heads - set(unused_parts) else self._model.backbone.output_weight
        for name, parameter in self._named.items():
            part = name.partition(":")[0]
            if part in unused_parts or part.partition(".")[0] in unused_parts or parameter is unused:
                parameter.grad = None
            else:
                used[name] = parameter
        if not any(isinstance(parameter, DTensor) for parameter in used.values()):
            self._world.sum_gradients(used)

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

    def _shard(self, name: str, tensor: Tensor) -> Tensor:
        """Share out ``tensor`` as the parameter ``name`` is, if it belongs to each of its elements."""
        parameter = self._named.get(name)
        if isinstance(parameter, DTensor) and tensor.shape == parameter.shape:
            return distribute_tensor(tensor, parameter.device_mesh, parameter.placements)
        return tensor

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`tensors` gave.

        Raises:
            CheckpointError: They are those of other parameters, or of another optimizer.
        """
        if self._ema is not None:
            averages = {name.removeprefix(_EMA): each for name, each in tensors.items() if name.startswith(_EMA)}
            self._ema.load_tensors({name: self._shard(name, average) for name, average in averages.items()})
            tensors = {name: each for name, each in tensors.items() if not name.startswith(_EMA)}
        state: dict[str, dict[str, Any]] = {name: {} for name in self._named}
        unknown = []
        for full_name, tensor in tensors.items():
            key, _, name = full_name.partition("/")
            if name not in state:
                unknown.append(full_name)
            else:
                state[name][key] = self._shard(name, tensor)
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
