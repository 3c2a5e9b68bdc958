"""One step: losses, gradients, clipping, and the optimizer; no part of it waits for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.data.batch import IGNORE, Batch, Sample
from modrwkv_core.data.packing import pack
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.model.build import build
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.counts import BatchCounts, supervised
from modrwkv_core.training.metrics import StepMetrics
from modrwkv_core.training.optimizer import PhaseOptimizer
from modrwkv_core.training.plan import PhasePlan
from modrwkv_core.training.precision import WorkingWeights

__all__ = ["TrainStep", "blank"]


class TrainStep:
    """The steps of a phase.

    The loss of a head is the mean over what the whole batch supervises, in however many micro-batches and on however
    many devices: each adds its own mean, weighted by its share.

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
        self._use_bf16 = plan.phase.precision == "bfloat16"
        # Shards are gathered in float32, so that autocast decides what is computed in bfloat16.
        self._weights: WorkingWeights | None = None
        if self._use_bf16 and context.sharded is None:
            self._weights = _working_weights(context.model)
        self.is_updating = False

    def backward(self, micro_batches: Sequence[Batch | None], counts: BatchCounts) -> StepMetrics:
        """Compute the losses of a batch and the clipped gradients of their weighted sum.

        Args:
            micro_batches: What this process computes of the batch.
            counts: What the whole batch holds.

        Returns:
            ``loss``, ``loss/<head>`` and ``gradient_norm``, which is the norm before clipping; of the whole batch.
        """
        context = self._context
        names = [name for name, count in counts.heads.items() if count]
        sums = {name: torch.zeros((), dtype=torch.float64, device=context.device) for name in names}
        if context.sharded is not None:
            micro_batches = [batch or blank() for batch in micro_batches]
        weights = self._weights
        with nullcontext() if weights is None else weights.active():
            for index, batch in enumerate(micro_batches):
                if batch is not None:
                    self._add_gradients(batch, counts, sums, is_last=index == len(micro_batches) - 1)
        norm = self._optimizer.reduce_gradients(counts.unused_parts())
        losses = context.world.sum(torch.stack([sums[name] for name in names]))
        heads = context.manifest.heads
        weighted = [loss * heads[name].loss_weight for name, loss in zip(names, losses, strict=True)]
        return StepMetrics(
            step=context.step + 1,
            keys=next((batch.keys[:4] for batch in micro_batches if batch is not None), ()),
            names=("loss", *(f"loss/{name}" for name in names), "gradient_norm"),
            values=torch.stack([torch.stack(weighted).sum(), *losses, norm.double().to(losses.device)]),
        )

    def _add_gradients(self, batch: Batch, counts: BatchCounts, sums: dict[str, Tensor], *, is_last: bool) -> None:
        context = self._context
        own = supervised(context.model, batch)
        with torch.autocast(context.device.type, dtype=torch.bfloat16, enabled=self._use_bf16):
            if context.sharded is None:
                losses, zero = context.model.losses(batch), None
            else:
                context.sharded.sync_gradients(is_last)
                losses, zero = context.sharded(batch)
        parts = []
        for name, loss in losses.items():
            share = loss if own[name] == counts.heads[name] else loss * (own[name] / counts.heads[name])
            sums[name] += share.detach()
            parts.append(share * context.manifest.heads[name].loss_weight)
        if zero is not None:
            # FSDP takes the mean over processes of the gradients that are to be summed.
            parts = [part * context.world.size for part in parts] + [zero.float()]
        if parts:
            torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]

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


def blank() -> Batch:
    """Return one token that nothing is learned from, with which a process without conversations takes part."""
    ids, targets = torch.zeros(1, dtype=torch.int64), torch.tensor([IGNORE])
    return pack([Sample(key="", ids=ids, targets=targets, media=(), queries={})])
