"""The training loop: phases, steps, checkpoints, and going on bit by bit where a run was killed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.loading import Loader
from modrwkv_core.errors import CheckpointError, ManifestError, ModRWKVError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.scheduler import Scheduler
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.load import LoadedManifest, dump_manifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.assemble import assemble, conversation_encoder, open_source
from modrwkv_core.model.augmenting import add_augmentations
from modrwkv_core.model.build import build
from modrwkv_core.model.finetuning import finetuning_method
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder, load_checkpoint
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.files import sha256, write_json, write_text
from modrwkv_core.training.denormals import flush_denormals
from modrwkv_core.training.interrupts import Interrupts, TrainingInterruptedError
from modrwkv_core.training.loggers import metrics_size, truncate_metrics
from modrwkv_core.training.metrics import MetricsAccumulator
from modrwkv_core.training.optimizer import PhaseOptimizer
from modrwkv_core.training.plan import apply_plan, check_plan
from modrwkv_core.training.resume import check_data, check_manifest, fingerprint, warn_of_other_versions
from modrwkv_core.training.validation import validate

__all__ = ["train"]


def train(loaded: LoadedManifest, run: Path, *, resume: bool, device: str, progress_bar: bool) -> MultimodalModel:
    """Run the phases of a manifest; each begins with the weights that the one before it left.

    What stops training in the middle, an error as well as Ctrl-C or SIGTERM, leaves a checkpoint of the last step.

    Args:
        loaded: A manifest that passed the wiring check.
        run: The run's folder.
        resume: Go on from the newest checkpoint; the result on a CPU, with the same number of threads, is
            bit-identical to an uninterrupted run.
        device: Where to train.
        progress_bar: Whether to draw progress bars on stderr.

    Raises:
        CheckpointError: The folder already holds a run and ``resume`` is False, it holds another manifest's run, or
            another process trains in it.
        DataError: A source or a record is broken.
        ManifestError: A phase trains nothing.
        TrainingInterruptedError: A signal came.
        WriteError: The disk is full, or the folder cannot be written.
    """
    folder = RunFolder(run)
    with flush_denormals(), folder.locked():
        return _Trainer(loaded, folder, device, progress_bar).train(resume)


@dataclass(frozen=True, slots=True)
class _PhasePlan:
    """A phase, ready to begin.

    Attributes:
        phase: Its section of the manifest.
        method: Its fine-tuning method.
        sources: Its data.
        steps: Its length.
    """

    phase: Phase
    method: FinetuningMethod[Any]
    sources: list[Source[Any]]
    steps: int


class _Trainer:
    def __init__(self, loaded: LoadedManifest, folder: RunFolder, device: str, progress_bar: bool) -> None:
        self.loaded = loaded
        self.manifest = loaded.manifest.resolved()
        self.folder = folder
        self.progress_bar = progress_bar
        self.device = device
        self.hook = loaded.registry.hook
        self.interrupts = Interrupts()
        self.methods: dict[str, FinetuningMethod[Any]] = {}
        self.step = 0

    def train(self, resume: bool) -> MultimodalModel:
        """Train all phases that are not complete."""
        checkpoint = self._checkpoint_to_resume(resume)
        state = None if checkpoint is None else TrainState.read(checkpoint)
        manifest_changed = state is not None and check_manifest(self.folder, self.loaded, state)
        # All data are opened before the first step: a missing file must not cost the phases before it.
        data = self.manifest.data
        train = self._open(data.train)
        self.valid = self._open(data.valid)
        sources = [self._open(phase.data) if phase.data else train for phase in self.manifest.phases]
        torch.manual_seed(self.manifest.seed)
        self.model = assemble(self.loaded, pretrained=checkpoint is None)
        self.augmenters = add_augmentations(self.loaded, self.model)
        plans = [self._plan(phase, chosen) for phase, chosen in zip(self.manifest.phases, sources, strict=True)]
        if checkpoint is not None:
            self.methods = load_checkpoint(self.loaded, self.model, checkpoint)
        self.model.to(self.device)
        first = self._first_phase(plans, state)
        if first == len(plans):
            return self.model.eval()
        if state is None:
            self._begin_run()
        else:
            self._resume_run(state, manifest_changed)
        self.hook.modrwkv_run_started(run=self.folder.path, manifest=self.manifest)
        with self._finishing(), self.interrupts:
            for index, plan in enumerate(plans[first:], start=first):
                # Of its own for each phase, so that a run resumed between two phases draws what an uninterrupted one
                # draws.
                torch.manual_seed(self.manifest.seed + 1 + index)
                is_interrupted = state is not None and state.phase == plan.phase.name
                _PhaseRun(self, plan, checkpoint if is_interrupted else None).run()
        return self.model.eval()

    def _checkpoint_to_resume(self, resume: bool) -> Path | None:
        steps = self.folder.steps()
        if not steps:
            return None
        if not resume:
            raise CheckpointError(
                f"{self.folder.path} already holds a run",
                hint="go on with --resume, choose another folder with --run, or remove this one",
            )
        return steps[-1]

    def _open(self, configs: Sequence[SourceConfig]) -> list[Source[Any]]:
        return [open_source(self.loaded, config) for config in configs]

    def _plan(self, phase: Phase, sources: list[Source[Any]]) -> _PhasePlan:
        method = finetuning_method(self.loaded, phase)
        check_plan(self.model, self.manifest, phase, method)
        loader = self.loader(phase, sources)
        if self.valid:
            self.loader(phase, self.valid)  # which refuses empty sources
        steps = phase.steps
        if steps is None:
            assert phase.epochs is not None, "the manifest's validation asks for epochs or steps"
            steps = sum(loader.batches_per_epoch(epoch) for epoch in range(phase.epochs))
        if steps == 0:
            raise ManifestError(
                f"phase {phase.name} has no steps: its epochs hold no records",
                component=f"phases.{phase.name}",
                hint="raise `epochs` or the `repeat` of its sources",
            )
        return _PhasePlan(phase, method, sources, steps)

    def loader(self, phase: Phase, sources: list[Source[Any]]) -> Loader:
        """Return the batches of ``sources``."""
        data = self.manifest.data
        return Loader(
            sources,
            conversation_encoder(self.model, data.max_tokens, self.augmenters),
            batch_size=phase.batch_size or data.batch_size,
            seed=self.manifest.seed,
            phase="" if sources is self.valid else phase.name,
            workers=data.workers,
            on_error=data.on_error,
            augment=phase.augment and sources is not self.valid,
        )

    def _first_phase(self, plans: list[_PhasePlan], state: TrainState | None) -> int:
        """Return the index of the first phase that is not complete."""
        if state is None:
            return 0
        self.step = state.step
        index = [plan.phase.name for plan in plans].index(state.phase)
        steps = plans[index].steps
        if state.phase_step > steps:
            raise CheckpointError(
                f"phase {state.phase} has taken {state.phase_step} steps, but is {steps} steps long",
                hint="give it at least the steps that it has taken",
            )
        is_complete = state.phase_done and state.phase_step == steps and (state.validated or not self.valid)
        return index + int(is_complete)

    def _begin_run(self) -> None:
        write_text(self.folder.manifest, dump_manifest(self.manifest))
        write_json(self.folder.lock, self._lock(self._hashes_of_weights()))
        truncate_metrics(self.folder.path, 0)

    def _resume_run(self, state: TrainState, manifest_changed: bool) -> None:
        try:
            before = json.loads(self.folder.lock.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder.lock} cannot be read: {error}", hint="restore it from a copy of the run"
            ) from error
        now = self._lock(before.get("weights", {}))
        warn_of_other_versions(before, now)
        if manifest_changed:
            write_text(self.folder.manifest, dump_manifest(self.manifest))
        if now != before:
            write_json(self.folder.lock, now)
        truncate_metrics(self.folder.path, state.metrics_size)

    def _lock(self, weights: dict[str, str]) -> dict[str, Any]:
        return make_lock(self.loaded, weights=weights, kernels=self.model.backbone.kernels())

    def _hashes_of_weights(self) -> dict[str, str]:
        hashes: dict[str, str] = {}
        for name, part in self.model.parts().items():
            assert isinstance(part, Component)
            hashes |= {f"{name}/{path.name}": sha256(path) for path in part.pretrained_files()}
        return hashes

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """Tell plugins how the run ended."""
        try:
            yield
        except BaseException as error:
            self.hook.modrwkv_run_finished(run=self.folder.path, manifest=self.manifest, error=error)
            raise
        self.hook.modrwkv_run_finished(run=self.folder.path, manifest=self.manifest, error=None)


class _NotFiniteError(ModRWKVError):
    """The loss or the gradient is NaN or infinite."""


class _PhaseRun:
    """One phase of a run from its beginning, or from a checkpoint, to its end.

    Args:
        trainer: The run.
        plan: The phase.
        checkpoint: Where to go on; None begins it.
    """

    def __init__(self, trainer: _Trainer, plan: _PhasePlan, checkpoint: Path | None) -> None:
        self.trainer = trainer
        self.plan = plan
        self.phase = plan.phase
        self.model = trainer.model
        registry, manifest = trainer.loaded.registry, trainer.manifest
        parts = self.model.parts()
        for name in manifest.select(self.phase.train):
            part = parts[name]
            assert isinstance(part, Component)
            with guard(plan.method.origin, "prepare()"):
                plan.method.prepare(part)
            trainer.methods[name] = plan.method
        self.model.to(trainer.device)
        self.frozen_parts = parts.keys() - apply_plan(self.model, manifest, self.phase, plan.method)
        self.optimizer = PhaseOptimizer(registry, self.model, manifest, self.phase)
        scheduler = self.phase.scheduler
        self.scheduler: Scheduler[Any] = build(registry, "scheduler", scheduler.type, scheduler, plan.steps)
        self.loader = trainer.loader(self.phase, plan.sources)
        self.phase_step = 0
        self.skipped_before = 0
        self.accumulator = MetricsAccumulator()
        self.saved: Path | None = None
        self.is_stepping = False
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
            self.optimizer.load_tensors(self.trainer.folder.optimizer_state(checkpoint))
        self.phase_step = state.phase_step
        self.skipped_before = state.skipped_records
        self.accumulator = MetricsAccumulator(state.accumulated)
        self.saved = checkpoint
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
                self._save(done=True)
            except Exception as error:
                self._save_before_stopping(error)
                raise
        self._validate()

    def _take_steps(self) -> None:
        phase, steps = self.phase, self.plan.steps
        bar = tqdm(
            total=steps,
            initial=self.phase_step,
            desc=phase.name,
            unit="step",
            disable=not self.trainer.progress_bar,
            dynamic_ncols=True,
        )
        with bar:
            self.trainer.interrupts.check()
            for batch in self.loader.batches_from(self.phase_step):
                if batch is not None:
                    self._step(batch)
                self.trainer.step += 1
                self.phase_step += 1
                self.rng_state = torch.get_rng_state()
                bar.update()
                if self.phase_step % phase.log_every == 0 or self.phase_step == steps:
                    bar.set_postfix_str(self._log())
                every = phase.checkpoint_every
                if every is not None and self.phase_step % every == 0 and self.phase_step < steps:
                    self._save(done=False)
                if self.phase_step == steps:
                    return
                self.trainer.interrupts.check()

    def _step(self, batch: Batch) -> None:
        use_bf16 = self.phase.precision == "bfloat16"
        with torch.autocast(torch.device(self.trainer.device).type, dtype=torch.bfloat16, enabled=use_bf16):
            losses = self.model.losses(batch)
        heads = self.trainer.manifest.heads
        total = torch.stack([loss * heads[name].loss_weight for name, loss in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.clip_grad_norm()
        loss = float(total.detach())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._not_finite(batch)
        self.is_stepping = True
        self.optimizer.step(self._lr_factor(self.phase_step))
        self.is_stepping = False
        self.accumulator.add(loss, {name: float(value.detach()) for name, value in losses.items()}, norm, batch)

    def _lr_factor(self, step: int) -> float:
        with guard(self.scheduler.origin, "factor()"):
            return self.scheduler.factor(step)

    def _not_finite(self, batch: Batch) -> ModRWKVError:
        hint = "lower the learning rate or train in float32"
        if steps := self.trainer.folder.steps():
            hint += f"; the newest checkpoint is {steps[-1]}"
        return _NotFiniteError(
            f"loss or gradient is not finite in step {self.trainer.step + 1} "
            f"(conversations {', '.join(batch.keys[:4])}, ...); the step was not taken",
            component=f"phases.{self.phase.name}",
            hint=hint,
        )

    def _log(self) -> str:
        """Tell plugins of the metrics since the last time, and return them in short."""
        metrics = self.accumulator.means() | {"lr": self.phase.lr * self._lr_factor(self.phase_step - 1)}
        if self.skipped_records:
            metrics["skipped_records"] = float(self.skipped_records)
        self._announce(metrics)
        self.accumulator = MetricsAccumulator()
        return f"loss {metrics.get('loss', math.nan):.3f}, {metrics['tokens_per_second']:.0f} tokens/s"

    @property
    def skipped_records(self) -> int:
        """Broken records that the phase has left out."""
        return self.skipped_before + self.loader.skipped

    def _announce(self, metrics: dict[str, float]) -> None:
        trainer = self.trainer
        trainer.hook.modrwkv_metrics(
            run=trainer.folder.path, step=trainer.step, metrics={"phase": self.phase.name, **metrics}
        )

    def _save(self, *, done: bool) -> None:
        trainer = self.trainer
        if not trainer.folder.manifest.is_file():
            raise CheckpointError(
                f"{trainer.folder.path} was removed or emptied during training",
                hint="nothing can be saved there; train again",
            )
        state = TrainState(
            step=trainer.step,
            phase=self.phase.name,
            phase_step=self.phase_step,
            phase_done=done,
            validated=False,
            rng_state=bytes(self.rng_state.tolist()).hex(),
            metrics_size=metrics_size(trainer.folder.path),
            accumulated=self.accumulator.state(),
            skipped_records=self.skipped_records,
            data=self.data,
        )
        self.saved = trainer.folder.save(
            self.model, state, self.optimizer.tensors(), methods=trainer.methods, frozen_parts=self.frozen_parts
        )
        trainer.hook.modrwkv_checkpoint_saved(run=trainer.folder.path, checkpoint=self.saved, step=state.step)

    def _save_before_stopping(self, error: Exception) -> None:
        """Save the last step that was taken, unless it is saved, and let ``error`` say where the run can go on."""
        if self.is_stepping or isinstance(error, _NotFiniteError):
            return
        folder = self.trainer.folder
        is_saved = self.phase_step == 0 or self.saved == folder.checkpoint(self.trainer.step)
        if not is_saved and not isinstance(error, CheckpointError):
            try:
                self._save(done=False)
            except ModRWKVError as second:
                error.add_note(f"the last steps could not be saved: {second}")
        steps = folder.steps()
        words = f"go on with --resume from {steps[-1]}" if steps else "there is no checkpoint to go on from"
        if isinstance(error, ModRWKVError):
            error.hint = words if error.hint is None else f"{error.hint}\n      {words}"
        else:
            error.add_note(words)

    def _validate(self) -> None:
        """Validate the complete phase; only then it counts as validated, so that a kill repeats the validation."""
        trainer = self.trainer
        assert self.saved is not None, "a complete phase is saved"
        if trainer.valid:
            loader = trainer.loader(self.phase, trainer.valid)
            try:
                metrics = validate(
                    self.model,
                    loader,
                    trainer.interrupts,
                    name=self.phase.name,
                    progress_bar=trainer.progress_bar,
                )
            except TrainingInterruptedError as error:
                error.hint = f"{self.saved} is complete; --resume repeats its validation"
                raise
            self._announce(metrics)
        size = metrics_size(trainer.folder.path)
        trainer.folder.update(self.saved, validated=True, metrics_size=size)
