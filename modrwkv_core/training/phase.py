"""One phase of a run: its steps, its log lines, its validation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import torch
from tqdm import tqdm

from modrwkv_core.data.batch import Batch
from modrwkv_core.errors import CheckpointError, ModRWKVError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.flops import StepFlops, device_peak
from modrwkv_core.training.interrupts import TrainingInterruptedError
from modrwkv_core.training.loggers import metrics_size
from modrwkv_core.training.metrics import MetricsAccumulator, StepMetrics, peak_memory
from modrwkv_core.training.optimizer import PhaseOptimizer
from modrwkv_core.training.plan import PhasePlan, apply_plan
from modrwkv_core.training.prefetch import batches_on
from modrwkv_core.training.resume import check_data, fingerprint
from modrwkv_core.training.saving import Checkpointer
from modrwkv_core.training.step import TrainStep
from modrwkv_core.training.validation import validate

__all__ = ["PhaseRun"]

_MAX_PENDING: Final = 64
"""Steps whose metrics may stay on a GPU; then the host waits for them, also between log lines."""


class _NotFiniteError(ModRWKVError):
    """The loss or the gradient is NaN or infinite."""


class PhaseRun:
    """One phase of a run from its beginning, or from a checkpoint, to its end.

    Args:
        context: The run.
        plan: The phase.
        checkpoint: Where to go on; None begins it.
    """

    def __init__(self, context: RunContext, plan: PhasePlan, checkpoint: Path | None) -> None:
        self.context = context
        self.plan = plan
        self.phase = plan.phase
        self.model = context.model
        registry, manifest = context.loaded.registry, context.manifest
        parts = self.model.parts()
        for name in manifest.select(self.phase.train):
            part = parts[name]
            assert isinstance(part, Component)
            with guard(plan.method.origin, "prepare()"):
                plan.method.prepare(part)
            context.methods[name] = plan.method
        self.model.to(context.device)
        frozen_parts = parts.keys() - apply_plan(self.model, manifest, self.phase, plan.method)
        self.optimizer = PhaseOptimizer(registry, self.model, manifest, self.phase)
        self.checkpointer = Checkpointer(context, self.optimizer, frozen_parts)
        self.step = TrainStep(context, plan, self.optimizer)
        self.loader = context.loader(self.phase, plan.sources)
        self.phase_step = 0
        self.skipped_before = 0
        peak = device_peak(context.device) if self.phase.precision == "bfloat16" else None
        self.flops = None if peak is None else StepFlops(self.model)
        self.accumulator = MetricsAccumulator(peak_flops=peak)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.data = tuple(fingerprint(source) for source in plan.sources)
        self.rng_state = torch.get_rng_state()

    def _restore(self, checkpoint: Path) -> None:
        state = TrainState.read(checkpoint)
        if state.phase_step == 0:
            return  # a phase that has not begun, as of an imported checkpoint
        if state.phase_step < self.plan.steps:
            check_data(self.phase.name, state.data, self.plan.sources)
            self.optimizer.load_tensors(self.context.folder.optimizer_state(checkpoint))
        self.phase_step = state.phase_step
        self.skipped_before = state.skipped_records
        self.accumulator.reset(state.accumulated)
        self.checkpointer.saved = checkpoint
        try:
            torch.set_rng_state(torch.frombuffer(bytearray.fromhex(state.rng_state), dtype=torch.uint8))
        except RuntimeError as error:
            raise CheckpointError(
                f"the random state of {checkpoint} is not one: {error}", hint="remove it to use an earlier checkpoint"
            ) from error

    def run(self) -> None:
        """Take the steps that are left, save, and validate."""
        if self.phase_step < self.plan.steps:
            try:
                self._take_steps()
                self.optimizer.finish()
                self.checkpointer.save(self._state(done=True))
            except Exception as error:
                if not (self.step.is_updating or isinstance(error, _NotFiniteError)):
                    state = partial(self._state, done=False) if self.phase_step else None
                    self.checkpointer.save_before_stopping(error, state)
                raise
        self._validate()

    def _take_steps(self) -> None:
        phase, steps = self.phase, self.plan.steps
        bar = tqdm(
            total=steps,
            initial=self.phase_step,
            desc=phase.name,
            unit="step",
            disable=not self.context.progress_bar,
            dynamic_ncols=True,
        )
        with bar:
            self.context.interrupts.check()
            for batch in self.batches():
                if batch is not None:
                    self.take_step(batch)
                self.context.step += 1
                self.phase_step += 1
                self.rng_state = torch.get_rng_state()
                bar.update()
                if self.phase_step % phase.log_every == 0 or self.phase_step == steps:
                    bar.set_postfix_str(self._log())
                every = phase.checkpoint_every
                if every is not None and self.phase_step % every == 0 and self.phase_step < steps:
                    self.checkpointer.save(self._state(done=False))
                if self.phase_step == steps:
                    return
                self.context.interrupts.check()

    def batches(self) -> Iterator[Batch | None]:
        """Yield the batches to come, on the device, without end. A new iteration ends the one before."""
        loaded = self.loader.batches_from(self.phase_step)
        return self.accumulator.waiting(batches_on(self.context.device, loaded))

    def take_step(self, batch: Batch) -> None:
        """Learn from a batch."""
        metrics = self.step.backward(batch)
        if self.context.device.type == "cpu" and not metrics.are_finite():
            raise self._not_finite(metrics, "the step was not taken")
        self.step.update(self.phase_step)
        self.accumulator.add(metrics, batch, self.flops(batch) if self.flops else 0.0)
        if self.accumulator.pending == _MAX_PENDING:
            self._fetch()

    def _fetch(self) -> None:
        """Take the metrics from the device; nothing may be saved before."""
        if (broken := self.accumulator.fetch()) is not None:
            raise self._not_finite(broken, "this and later steps are lost")

    def _not_finite(self, metrics: StepMetrics, consequence: str) -> ModRWKVError:
        hint = "lower the learning rate or train in float32"
        if steps := self.context.folder.steps():
            hint += f"; the newest checkpoint is {steps[-1]}"
        return _NotFiniteError(
            f"loss or gradient is not finite in step {metrics.step} "
            f"(conversations {', '.join(metrics.keys)}, ...); {consequence}",
            component=f"phases.{self.phase.name}",
            hint=hint,
        )

    def _log(self) -> str:
        """Tell plugins of the metrics since the last time, and return them in short."""
        self._fetch()
        metrics = self.accumulator.means()
        metrics["peak_memory_gib"] = peak_memory(self.context.device)
        metrics["lr"] = self.phase.lr * self.step.lr_factor(self.phase_step - 1)
        if self.skipped_records:
            metrics["skipped_records"] = float(self.skipped_records)
        self.context.announce(self.phase, metrics)
        self.accumulator.reset()
        words = [
            f"loss {metrics.get('loss', math.nan):.3f}",
            f"{metrics['tokens_per_second']:.0f} tokens/s",
            f"data wait {metrics['data_wait']:.0%}",
        ]
        return ", ".join(words + ([f"MFU {metrics['mfu']:.0%}"] if "mfu" in metrics else []))

    @property
    def skipped_records(self) -> int:
        """Broken records that the phase has left out."""
        return self.skipped_before + self.loader.skipped

    def _state(self, *, done: bool) -> TrainState:
        self._fetch()
        return TrainState(
            step=self.context.step,
            phase=self.phase.name,
            phase_step=self.phase_step,
            phase_done=done,
            validated=False,
            rng_state=bytes(self.rng_state.tolist()).hex(),
            metrics_size=metrics_size(self.context.folder.path),
            accumulated=self.accumulator.state(),
            skipped_records=self.skipped_records,
            data=self.data,
        )

    def _validate(self) -> None:
        """Validate the complete phase; only then it counts as validated, so that a kill repeats the validation."""
        context, saved = self.context, self.checkpointer.saved
        assert saved is not None, "a complete phase is saved"
        if context.valid:
            loader = context.loader(self.phase, context.valid)
            try:
                metrics = validate(
                    self.model,
                    loader,
                    context.interrupts,
                    name=self.phase.name,
                    progress_bar=context.progress_bar,
                )
            except TrainingInterruptedError as error:
                error.hint = f"{saved} is complete; --resume repeats its validation"
                raise
            context.announce(self.phase, metrics)
        size = metrics_size(context.folder.path)
        context.folder.update(saved, validated=True, metrics_size=size)
