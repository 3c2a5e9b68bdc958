"""The training loop: phases, steps, checkpoints, and going on bit by bit where a run was killed."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.loading import Loader
from modrwkv_core.errors import CheckpointError, ModRWKVError
from modrwkv_core.files import write_json, write_text
from modrwkv_core.interfaces.component import Component
from modrwkv_core.manifest.load import LoadedManifest, dump_manifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.assemble import assemble, conversation_encoder, open_source
from modrwkv_core.model.checkpoint import load_parts
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder, TrainState
from modrwkv_core.tensors import read_tensors
from modrwkv_core.training.loggers import truncate_metrics
from modrwkv_core.training.optimizer import Optimizer
from modrwkv_core.training.plan import apply_plan
from modrwkv_core.training.schedule import learning_rate_factor

__all__ = ["train"]


def train(loaded: LoadedManifest, run: Path, *, resume: bool, device: str, progress_bar: bool) -> MultimodalModel:
    """Run the phases of a manifest; each begins with the weights that the one before it left.

    Args:
        loaded: A manifest that passed the wiring check.
        run: The run's folder.
        resume: Go on from the newest checkpoint; the result on a CPU is bit-identical to an uninterrupted run.
        device: Where to train.
        progress_bar: Whether to draw progress bars on stderr.

    Raises:
        CheckpointError: The folder already holds a run and ``resume`` is False, or it holds another manifest's run.
        DataError: A record is broken.
    """
    return _Trainer(loaded, RunFolder(run), device, progress_bar).train(resume)


@dataclass(slots=True)
class _Position:
    """Where training stands; see :class:`TrainState`."""

    step: int = 0
    phase_step: int = 0
    epoch: int = 0
    batch: int = 0


class _Trainer:
    def __init__(self, loaded: LoadedManifest, folder: RunFolder, device: str, progress_bar: bool) -> None:
        self.loaded = loaded
        self.manifest = loaded.manifest.resolved()
        self.folder = folder
        self.progress_bar = progress_bar
        self.device = device
        self.position = _Position()

    def train(self, resume: bool) -> MultimodalModel:
        """Train all phases that are not complete."""
        checkpoint = self._checkpoint_to_resume(resume)
        # Young gradients fade below the smallest normal float32, and processors compute with such numbers far slower.
        torch.set_flush_denormal(True)
        torch.manual_seed(self.manifest.seed)
        self.model = assemble(self.loaded, pretrained=checkpoint is None)
        self.model.to(self.device)
        state = None
        if checkpoint is None:
            self._begin_run()
        else:
            state = self.folder.train_state(checkpoint)
            load_parts(self.model, checkpoint)
            truncate_metrics(self.folder.path, state.step)
        hook = self.loaded.registry.hook
        hook.modrwkv_run_started(run=self.folder.path, manifest=self.manifest)
        names = [phase.name for phase in self.manifest.phases]
        first = 0
        if state is not None:
            first = names.index(state.phase) + int(state.phase_done)
            self.position.step = state.step
        for index, phase in enumerate(self.manifest.phases[first:], start=first):
            # Of its own for each phase, so that a run resumed between two phases draws what an uninterrupted one draws.
            torch.manual_seed(self.manifest.seed + 1 + index)
            interrupted = state is not None and state.phase == phase.name
            self._train_phase(phase, checkpoint if interrupted else None)
        hook.modrwkv_run_finished(run=self.folder.path, manifest=self.manifest)
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
        if self.folder.train_state(steps[-1]).manifest != self.loaded.digest:
            raise CheckpointError(
                f"{self.folder.path} was trained with another manifest",
                hint=f"go on with {self.folder.manifest}, or train into another folder with --run",
            )
        return steps[-1]

    def _begin_run(self) -> None:
        write_text(self.folder.manifest, dump_manifest(self.manifest))
        write_json(self.folder.lock, self._lock())
        truncate_metrics(self.folder.path, -1)

    def _lock(self) -> dict[str, Any]:
        weights = {}
        for name, part in self.model.parts().items():
            assert isinstance(part, Component)
            for path in part.pretrained_files():
                with path.open("rb") as file:
                    weights[f"{name}/{path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
        return make_lock(self.loaded, weights=weights, kernels=self.model.backbone.kernels())

    def _train_phase(self, phase: Phase, checkpoint: Path | None) -> None:
        self.position.phase_step = self.position.epoch = self.position.batch = 0
        trained = apply_plan(self.model, self.manifest, phase)
        optimizer = Optimizer(self.model, self.manifest, phase)
        if checkpoint is not None:
            self._restore(checkpoint, optimizer)
        self.frozen_parts = self.model.parts().keys() - trained
        loader = self._loader(phase)
        steps = phase.steps if phase.steps is not None else _steps_of_epochs(loader, phase)
        bar = tqdm(
            total=steps,
            initial=self.position.phase_step,
            desc=phase.name,
            unit="step",
            disable=not self.progress_bar,
            dynamic_ncols=True,
        )
        with bar:
            accumulator = MetricsAccumulator()
            for batch in self._batches(loader, steps):
                self._step(batch, optimizer, phase, steps, accumulator)
                bar.update()
                if self.position.phase_step % phase.log_every == 0 or self.position.phase_step == steps:
                    metrics = self._log(phase, accumulator, steps)
                    bar.set_postfix_str(f"loss {metrics['loss']:.3f}, {metrics['tokens_per_second']:.0f} tokens/s")
                    accumulator = MetricsAccumulator()
                every = phase.checkpoint_every
                if every is not None and self.position.phase_step % every == 0 and self.position.phase_step < steps:
                    self._save(phase, optimizer, done=False)
        self._save(phase, optimizer, done=True)
        self._validate(phase)

    def _restore(self, checkpoint: Path, optimizer: Optimizer) -> None:
        state = self.folder.train_state(checkpoint)
        self.position = _Position(state.step, state.phase_step, state.epoch, state.batch)
        optimizer.load_tensors(read_tensors(checkpoint / "optimizer.safetensors"))
        torch.set_rng_state(torch.frombuffer(bytearray.fromhex(state.rng_state), dtype=torch.uint8))

    def _loader(self, phase: Phase) -> Loader:
        data = self.manifest.data
        return Loader(
            [open_source(self.loaded, config) for config in (phase.data or data.train)],
            conversation_encoder(self.model, data.max_tokens),
            batch_size=phase.batch_size or data.batch_size,
            seed=self.manifest.seed,
            phase=phase.name,
            workers=data.workers,
        )

    def _batches(self, loader: Loader, steps: int) -> Iterator[Batch]:
        while self.position.phase_step < steps:
            for batch in loader.batches(self.position.epoch, start=self.position.batch):
                self.position.batch += 1
                yield batch
                if self.position.phase_step == steps:
                    return
            self.position.epoch += 1
            self.position.batch = 0

    def _step(
        self, batch: Batch, optimizer: Optimizer, phase: Phase, steps: int, accumulator: MetricsAccumulator
    ) -> None:
        device_type = torch.device(self.device).type
        use_bf16 = phase.precision == "bfloat16"
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=use_bf16):
            losses = self.model.losses(batch)
        total = torch.stack([loss * self.manifest.heads[name].loss_weight for name, loss in losses.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        norm = optimizer.clip_grad_norm()
        accumulator.add(
            float(total.detach()), {name: float(loss.detach()) for name, loss in losses.items()}, norm, batch
        )
        if not (math.isfinite(accumulator.totals[-1]) and math.isfinite(norm)):
            raise ModRWKVError(
                f"loss or gradient is not finite in step {self.position.step + 1} "
                f"(conversations {', '.join(batch.keys[:4])}, ...); the step was not taken",
                component=f"phases.{phase.name}",
                hint="lower the learning rate or train in float32, and go on with --resume from the newest checkpoint",
            )
        optimizer.step(
            learning_rate_factor(
                self.position.phase_step, steps=steps, warmup=phase.warmup(steps), final=phase.min_lr_ratio
            )
        )
        self.position.step += 1
        self.position.phase_step += 1

    def _log(self, phase: Phase, accumulator: MetricsAccumulator, steps: int) -> dict[str, float]:
        factor = learning_rate_factor(
            self.position.phase_step - 1, steps=steps, warmup=phase.warmup(steps), final=phase.min_lr_ratio
        )
        metrics = accumulator.means() | {"lr": phase.lr * factor}
        self.loaded.registry.hook.modrwkv_metrics(
            run=self.folder.path, step=self.position.step, metrics={"phase": phase.name, **metrics}
        )
        return metrics

    def _validate(self, phase: Phase) -> None:
        if not self.manifest.data.valid:
            return
        loader = Loader(
            [open_source(self.loaded, config) for config in self.manifest.data.valid],
            conversation_encoder(self.model, self.manifest.data.max_tokens),
            batch_size=phase.batch_size or self.manifest.data.batch_size,
            seed=self.manifest.seed,
            workers=self.manifest.data.workers,
        )
        sums: dict[str, list[float]] = {}
        training = {name: part.training for name, part in self.model.parts().items()}
        self.model.eval()
        with torch.no_grad():
            for batch in tqdm(
                loader.batches(0),
                total=loader.batches_per_epoch(0),
                desc=f"{phase.name}: validation",
                unit="batch",
                disable=not self.progress_bar,
                dynamic_ncols=True,
            ):
                for name, loss in self.model.losses(batch).items():
                    sums.setdefault(name, []).append(float(loss))
        for name, part in self.model.parts().items():
            part.train(training[name])
        metrics = {f"valid/{name}": sum(values) / len(values) for name, values in sums.items()}
        self.loaded.registry.hook.modrwkv_metrics(
            run=self.folder.path, step=self.position.step, metrics={"phase": phase.name, **metrics}
        )

    def _save(self, phase: Phase, optimizer: Optimizer, *, done: bool) -> None:
        state = TrainState(
            step=self.position.step,
            phase=phase.name,
            phase_step=self.position.phase_step,
            epoch=self.position.epoch,
            batch=self.position.batch,
            phase_done=done,
            rng_state=bytes(torch.get_rng_state().tolist()).hex(),
            manifest=self.loaded.digest,
        )
        checkpoint = self.folder.save(self.model, state, optimizer.tensors(), frozen_parts=self.frozen_parts)
        self.loaded.registry.hook.modrwkv_checkpoint_saved(run=self.folder.path, checkpoint=checkpoint, step=state.step)


def _steps_of_epochs(loader: Loader, phase: Phase) -> int:
    assert phase.epochs is not None, "the manifest's validation asks for epochs or steps"
    return sum(loader.batches_per_epoch(epoch) for epoch in range(phase.epochs))


class MetricsAccumulator:
    """Means of the metrics between two log lines."""

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.by_head: dict[str, list[float]] = {}
        self.norms: list[float] = []
        self.tokens = 0
        self.began = time.perf_counter()

    def add(self, total: float, by_head: dict[str, float], norm: float, batch: Batch) -> None:
        """Take in the metrics of one step."""
        self.totals.append(total)
        for name, loss in by_head.items():
            self.by_head.setdefault(name, []).append(loss)
        self.norms.append(norm)
        self.tokens += batch.ids.numel()

    def means(self) -> dict[str, float]:
        """Return the means by name."""
        seconds = time.perf_counter() - self.began
        metrics = {"loss": _mean(self.totals)}
        metrics |= {f"loss/{name}": _mean(values) for name, values in self.by_head.items()}
        return metrics | {"gradient_norm": _mean(self.norms), "tokens_per_second": self.tokens / seconds}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
