"""One step: losses, gradients, clipping, and the optimizer; no part of it waits for a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.data.batch import Batch
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.model.build import build
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.metrics import StepMetrics
from modrwkv_core.training.optimizer import PhaseOptimizer
from modrwkv_core.training.plan import PhasePlan
from modrwkv_core.training.precision import WorkingWeights

__all__ = ["TrainStep"]


class TrainStep:
    """The steps of a phase.

    Args:
        context: The run; its model knows which parameters learn.
        plan: The phase.
        optimizer: The phase's.

    Attributes:
        is_updating: Whether weights are being changed; a checkpoint must not be written then.
    """

    def __init__(self, context: RunContext, plan: PhasePlan, optimizer: PhaseOptimizer) -> None:
        self._context = context
        self._optimizer = optimizer
        config = plan.phase.scheduler
        registry = context.loaded.registry
        self._scheduler: Scheduler[Any] = build(registry, "scheduler", config.type, config, plan.steps)
        self._weights = _working_weights(context.model) if plan.phase.precision == "bfloat16" else None
        self.is_updating = False

    def backward(self, batch: Batch) -> StepMetrics:
        """Compute the losses of ``batch`` and the clipped gradients of their weighted sum.

        Returns:
            ``loss``, ``loss/<head>`` and ``gradient_norm``, which is the norm before clipping.
        """
        context = self._context
        weights = self._weights
        with nullcontext() if weights is None else weights.active():
            with torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=weights is not None):
                losses = context.model.losses(batch)
            heads = context.manifest.heads
            total = torch.stack([loss * heads[name].loss_weight for name, loss in losses.items()]).sum()
            total.backward()  # type: ignore[no-untyped-call]
        norm = self._optimizer.clip_grad_norm()
        values: dict[str, Tensor] = {"loss": total}
        values |= {f"loss/{name}": loss for name, loss in losses.items()}
        values["gradient_norm"] = norm.to(total.device)
        return StepMetrics(
            step=context.step + 1,
            keys=batch.keys[:4],
            names=tuple(values),
            values=torch.stack([value.detach().double() for value in values.values()]),
        )

    def update(self, phase_step: int) -> None:
        """Let the optimizer change the weights.

        Args:
            phase_step: The step of the phase, counted from 0.
        """
        self.is_updating = True
        self._optimizer.step(self.lr_factor(phase_step))
        if self._weights is not None:
            self._weights.refresh()
        self.is_updating = False

    def lr_factor(self, phase_step: int) -> float:
        """Return the scheduler's fraction of the highest learning rate."""
        with guard(self._scheduler.origin, "factor()"):
            return self._scheduler.factor(phase_step)


def _working_weights(model: MultimodalModel) -> WorkingWeights:
    backbone = model.backbone
    return WorkingWeights(model, [backbone.get_parameter(name) for name in sorted(backbone.product_parameters())])
