"""One phase of a run: its steps, its log lines, its validation."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from tqdm import tqdm

from modrwkv_core.data.batch import Batch
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.manifest.schema import VALID_LOSS, Phase
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.training.broken_batch import keep_batch
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.counts import BatchCounts
from modrwkv_core.training.diagnosis import unused_modalities, warn_of_unused_modalities
from modrwkv_core.training.diagnostics import Diagnostics
from modrwkv_core.training.early_stopping import EarlyStopping
from modrwkv_core.training.flops import StepFlops, device_peak
from modrwkv_core.training.interrupts import TrainingInterruptedError
from modrwkv_core.training.loggers import metrics_size, read_metrics
from modrwkv_core.training.metrics import MetricsAccumulator, StepMetrics, peak_memory
from modrwkv_core.training.optimizer import PhaseOptimizer
from modrwkv_core.training.plan import PhasePlan, apply_plan
from modrwkv_core.training.prefetch import batches_on
from modrwkv_core.training.resume import check_data, fingerprint
from modrwkv_core.training.rng import Rng
from modrwkv_core.training.saving import Checkpointer
from modrwkv_core.training.skipped import SKIPPED
from modrwkv_core.training.step import TrainStep
from modrwkv_core.training.validation import validate
from modrwkv_core.training.world import PeerError

__all__ = ["PhaseRun", "is_phase_done"]

_MAX_PENDING: Final = 64
"""Steps whose metrics may stay on a GPU; then the host waits for them, also between log lines."""


_MIN_READ: Final = 1000
"""Records from which on the share of broken ones counts."""


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
        if context.sharded is not None:
            context.sharded.follow_plan()
        self.optimizer = PhaseOptimizer(registry, self.model, manifest, self.phase, context.world)
        self.checkpointer = Checkpointer(context, self.optimizer, frozen_parts)
        if checkpoint is not None or context.step:
            self.checkpointer.saved = context.folder.checkpoint(context.step)
        self.step = TrainStep(context, plan, self.optimizer)
        self.diagnostics = Diagnostics(context)
        context.open_caches(self.phase)
        self.loader = context.loader(self.phase, plan.sources)
        self.phase_step = 0
        self.read_records = 0
        self.skipped_records = 0
        self.skipped_by_loader = 0
        peak = device_peak(context.device) if self.phase.precision == "bfloat16" else None
        self.flops = None if peak is None else StepFlops(self.model)
        self.accumulator = MetricsAccumulator(peak_flops=peak)
        self.early_stopping = EarlyStopping(self.phase)
        self.is_done = False
        if checkpoint is not None:
            self._restore(checkpoint)
        self.data = tuple(fingerprint(source) for source in plan.sources)
        self.rng = Rng.now(context.device)
        self.is_agreed = True
        self.logged: int | None = None
        self.validation: dict[str, float] | None = None

    def _restore(self, checkpoint: Path) -> None:
        state = TrainState.read(checkpoint)
        if state.phase_step == 0:
            return  # a phase that has not begun, as of an imported checkpoint
        self.early_stopping = EarlyStopping(self.phase, state.best)
        self.is_done = is_phase_done(state, self.phase, self.plan.steps)
        if not self.is_done:
            check_data(self.phase.name, state.data, self.plan.sources)
            self.optimizer.load_tensors(self.context.folder.optimizer_state(checkpoint))
        self.phase_step = state.phase_step
        self.read_records, self.skipped_records = state.read_records, state.skipped_records
        self.accumulator.reset(state.accumulated)
        if self.context.world.rank < len(state.rng_states):
            Rng.restore(state.rng_states[self.context.world.rank], self.context.device)

    def run(self) -> None:
        """Take the steps that are left, save, and validate."""
        if not self.is_done:
            try:
                if self.phase_step < self.plan.steps and not self.early_stopping.is_due:
                    self._take_steps()
                self.optimizer.finish()
                self.checkpointer.save(self._state(done=True))
            except Exception as error:
                if self.is_agreed and not (self.step.is_updating or isinstance(error, _NotFiniteError)):
                    self.checkpointer.save_before_stopping(error, partial(self._state, done=False))
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
            batches = self.batches()
            while True:
                # Before the next step, not after the last one: a run that is resumed here validates here, too.
                if phase.eval_every is not None and self.phase_step and self.phase_step % phase.eval_every == 0:
                    self._validate_between_steps()
                    if self.early_stopping.is_due:
                        return
                micro_batches, counts = self.next_batch(batches)
                if counts.heads.total():
                    self.take_step(micro_batches, counts)
                self.logged = self.validation = None
                self.context.step += 1
                self.phase_step += 1
                self.rng = Rng.now(self.context.device)
                self.count_records(counts)
                bar.update()
                if self.is_logged(self.phase_step):
                    bar.set_postfix_str(self._log())
                every = phase.checkpoint_every
                if every is not None and self.phase_step % every == 0 and self.phase_step < steps:
                    self.checkpointer.save(self._state(done=False))
                if self.phase_step == steps:
                    return

    def is_logged(self, phase_step: int) -> bool:
        """Whether a log line follows the step of this number, counted from 1."""
        return phase_step % self.phase.log_every == 0 or phase_step == self.plan.steps

    def batches(self) -> Iterator[tuple[Batch | None, ...]]:
        """Yield the batches to come, on the device, without end. A new iteration ends the one before."""
        loaded = self.loader.batches_from(self.phase_step)
        return self.accumulator.waiting(batches_on(self.context.device, loaded))

    def next_batch(self, batches: Iterator[tuple[Batch | None, ...]]) -> tuple[tuple[Batch | None, ...], BatchCounts]:
        """Take a batch, in micro-batches, and learn from all processes that they have theirs.

        Raises:
            PeerError: Another process has none, or is gone.
            TrainingInterruptedError: A signal reached one of them.
        """
        context = self.context
        micro_batches: tuple[Batch | None, ...] = ()
        failure: Exception | None = None
        if context.world.size == 1:
            context.interrupts.check()  # not after the wait for data
            micro_batches = next(batches)
        else:
            try:
                micro_batches = next(batches)
            except Exception as error:
                failure = error
        skipped, self.skipped_by_loader = self.loader.num_skipped - self.skipped_by_loader, self.loader.num_skipped
        counts = BatchCounts.of(
            self.model,
            micro_batches,
            context.world,
            skipped=skipped,
            received=context.interrupts.received,
            failed=failure is not None,
        )
        if failure is not None:
            raise failure
        if counts.failed:
            raise PeerError(
                f"process {counts.failed[0]} of {context.world.size} could not load its batch",
                hint="its own message says why",
            )
        if counts.signals.total():
            raise TrainingInterruptedError(signal.Signals(max(number for number, n in counts.signals.items() if n)))
        return micro_batches, counts

    def take_step(self, micro_batches: tuple[Batch | None, ...], counts: BatchCounts) -> None:
        """Learn from a batch."""
        # What fails in here fails on one process, while the others wait for it.
        self.is_agreed = self.context.world.size == 1
        is_logged = self.is_logged(self.phase_step + 1)
        with self.diagnostics.watching(is_logged):
            metrics = self.step.backward(micro_batches, counts)
        if self.context.device.type == "cpu" and not metrics.are_finite():
            raise self._not_finite(metrics, "the step was not taken")
        if is_logged:
            self.diagnostics.measure_gradients()
        self.step.update(self.phase_step)
        if is_logged:
            metrics = self.diagnostics.add_to(metrics)
        self.is_agreed = True
        self.accumulator.add(metrics)
        for batch in micro_batches:
            if batch is not None:
                self.accumulator.add_batch(batch, self.flops(batch) if self.flops else 0.0)
        if self.accumulator.pending == _MAX_PENDING:
            self._fetch()

    def count_records(self, counts: BatchCounts) -> None:
        """Count what a step has read, and name the broken records that it has left out.

        Raises:
            DataError: More are broken than ``data.max_error_share`` allows.
        """
        self.read_records += counts.conversations + counts.skipped
        if not counts.skipped:
            return
        self.skipped_records += counts.skipped
        self.context.note_skipped(self.phase.name, self.loader)
        share = self.context.manifest.data.max_error_share
        if self.skipped_records > share * max(self.read_records, _MIN_READ):
            raise DataError(
                f"{self.skipped_records} of {self.read_records} records of phase {self.phase.name} are broken, more "
                f"than a share of {share:g}; {self.context.folder.path / SKIPPED} names them",
                component="data.max_error_share",
                hint="repair the data, or allow a larger share",
            )

    def _fetch(self) -> None:
        """Take the metrics from the device; nothing may be saved before."""
        if (broken := self.accumulator.fetch()) is not None:
            raise self._not_finite(broken, "this and later steps are lost")

    def _not_finite(self, metrics: StepMetrics, consequence: str) -> ModRWKVError:
        hint = f"lower the learning rate or train in float32; the batch is in {self._keep_batch(metrics.step)}"
        if steps := self.context.folder.steps():
            hint += f"; the newest checkpoint is {steps[-1]}"
        return _NotFiniteError(
            f"loss or gradient is not finite in step {metrics.step} "
            f"(conversations {', '.join(metrics.keys)}, ...); {consequence}",
            component=f"phases.{self.phase.name}",
            hint=hint,
        )

    def _keep_batch(self, step: int) -> Path:
        """Load the batch of a step again and write it to the run's folder."""
        context = self.context
        rank = f"-process-{context.world.rank}" if context.world.size > 1 else ""
        path = context.folder.path / f"not-finite-step-{step:08d}{rank}.safetensors"
        first = context.step - self.phase_step + 1
        loader = context.loader(self.phase, self.plan.sources, workers=0)
        keep_batch(next(loader.batches_from(step - first)), path)
        return path

    def _log(self) -> str:
        """Tell plugins of the metrics since the last time, and return them in short."""
        self._fetch()
        metrics = self.accumulator.means(self.context.world)
        metrics["peak_memory_gib"] = self.context.world.max(peak_memory(self.context.device))
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
        if "feature_cache_hits" in metrics:
            words.append(f"feature cache hits {metrics['feature_cache_hits']:.0%}")
        return ", ".join(words + ([f"MFU {metrics['mfu']:.0%}"] if "mfu" in metrics else []))

    def _state(self, *, done: bool) -> TrainState:
        self._fetch()
        return TrainState(
            step=self.context.step,
            phase=self.phase.name,
            phase_step=self.phase_step,
            phase_done=done,
            validated=False,
            rng_states=tuple(self.context.world.gather(self.rng.saved())),
            metrics_size=metrics_size(self.context.folder.path) if self.logged is None else self.logged,
            accumulated=self.accumulator.state(),
            read_records=self.read_records,
            skipped_records=self.skipped_records,
            data=self.data,
            best=self.early_stopping.best,
        )

    def _validate_between_steps(self) -> None:
        context = self.context
        if not context.valid:
            return
        began = time.perf_counter()
        self.logged = metrics_size(context.folder.path)
        self.is_agreed = context.world.size == 1
        self.validation = validate(context, self.phase)
        self.is_agreed = True
        context.announce(self.phase, self.validation)
        emerge_by, every = self.phase.emerge_by, self.phase.eval_every
        if emerge_by is not None and every is not None and self.phase_step - every < emerge_by <= self.phase_step:
            self._warn(f"after {self.phase_step} steps of phase {self.phase.name}", self.validation)
        if self.early_stopping.observe(context.step, self.validation):
            if self.checkpointer.saved != context.folder.checkpoint(context.step):
                self.checkpointer.save(self._state(done=False))
            elif context.world.is_main:
                context.folder.update(self.checkpointer.saved, best=self.early_stopping.best)
        self.accumulator.leave_out(time.perf_counter() - began)

    def _validate(self) -> None:
        """Validate the complete phase; only then it counts as validated, so that a kill repeats the validation."""
        context, saved = self.context, self.checkpointer.saved
        assert saved is not None, "a complete phase is saved"
        if context.valid:
            metrics = self.validation
            if metrics is None or self.phase.ema is not None:  # whose weights were not those of the last step
                try:
                    metrics = validate(context, self.phase)
                except TrainingInterruptedError as error:
                    error.hint = f"{saved} is complete; --resume repeats its validation"
                    raise
                context.announce(self.phase, metrics)
                self.early_stopping.observe(context.step, metrics)
            self._warn(f"after phase {self.phase.name}", metrics)
        if context.world.is_main:
            size = metrics_size(context.folder.path)
            context.folder.update(saved, validated=True, metrics_size=size, best=self.early_stopping.best)

    def _warn(self, when: str, metrics: Mapping[str, float]) -> None:
        """Warn of modalities that the model does not use."""
        loss = metrics.get(VALID_LOSS, 0.0)
        if self.context.world.is_main and unused_modalities(metrics, loss):
            lines = [line for line in read_metrics(self.context.folder.path) if line.get("phase") == self.phase.name]
            warn_of_unused_modalities(when, metrics, loss, lines, self.phase.max_grad_norm)


def is_phase_done(state: TrainState, phase: Phase, steps: int) -> bool:
    """Whether no step of a phase is left.

    Args:
        state: That of a checkpoint of the phase.
        phase: The phase, which may have been changed since then.
        steps: Its length.
    """
    return state.phase_done and (state.phase_step == steps or EarlyStopping(phase, state.best).is_due)
