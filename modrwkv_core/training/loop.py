"""The training loop: phases, steps, checkpoints, and going on bit by bit where a run was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import torch

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.manifest.load import LoadedManifest, dump_manifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder, load_checkpoint
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.files import sha256, write_json, write_text
from modrwkv_core.training.attention import no_cudnn_attention
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.denormals import flush_denormals
from modrwkv_core.training.loggers import truncate_metrics
from modrwkv_core.training.peers import check_peers, check_sharding
from modrwkv_core.training.phase import PhaseRun, is_phase_done
from modrwkv_core.training.plan import PhasePlan
from modrwkv_core.training.resume import check_manifest, warn_of_other_versions
from modrwkv_core.training.skipped import drop_skipped_after
from modrwkv_core.training.world import joined

__all__ = ["train"]

_SEEDS: Final = 2**32
"""Distance between the seeds of two processes."""


def train(loaded: LoadedManifest, run: Path, *, resume: bool, device: str, progress_bar: bool) -> MultimodalModel:
    """Run the phases of a manifest; each begins with the weights that the one before it left.

    What stops training in the middle, an error as well as Ctrl-C or SIGTERM, leaves a checkpoint of the last step.
    If a launcher started several processes, each of them calls this, and they train together.

    Args:
        loaded: A manifest that passed the wiring check.
        run: The run's folder.
        resume: Go on from the newest checkpoint; the result on a CPU, with the same number of threads, is
            bit-identical to an uninterrupted run.
        device: Where to train; of ``cuda``, each process takes the GPU of its number on the machine.
        progress_bar: Whether to draw progress bars on stderr.

    Raises:
        CheckpointError: The folder already holds a run and ``resume`` is False, it holds another manifest's run, or
            another process trains in it.
        DataError: A source or a record is broken.
        ManifestError: A phase trains nothing.
        PeerError: Another process of the run failed, or was started with something else.
        TrainingInterruptedError: A signal came.
        WriteError: The disk is full, or the folder cannot be written.
    """
    folder = RunFolder(run)
    with (
        flush_denormals(),
        no_cudnn_attention(),
        joined(device) as world,
        folder.locked() if world.is_main else nullcontext(),
    ):
        checkpoint = _checkpoint_to_resume(folder, resume)
        state = None if checkpoint is None else TrainState.read(checkpoint)
        manifest_changed = state is not None and check_manifest(folder, loaded, state)
        context = RunContext(loaded, folder, world, progress_bar, pretrained=checkpoint is None)
        check_sharding(context)
        check_peers(context, checkpoint)
        plans = [PhasePlan.of(context, phase) for phase in context.manifest.phases]
        if checkpoint is not None:
            context.methods = load_checkpoint(loaded, context.model.parts(), checkpoint)
        context.place()
        first = _first_phase(context, plans, state)
        if first < len(plans):
            if world.is_main and state is None:
                _begin_run(context)
            elif world.is_main and state is not None:
                _resume_run(context, state, manifest_changed)
            with _announced(context), context.interrupts:
                for index, plan in enumerate(plans[first:], start=first):
                    # Of its own for each phase, so that a run resumed between two phases draws what an uninterrupted
                    # one draws; and for each process, so that they do not drop the same features.
                    torch.manual_seed(context.manifest.seed + 1 + index + _SEEDS * world.rank)
                    is_interrupted = state is not None and state.phase == plan.phase.name
                    PhaseRun(context, plan, checkpoint if is_interrupted else None).run()
        return context.model.eval()


def _checkpoint_to_resume(folder: RunFolder, resume: bool) -> Path | None:
    steps = folder.steps()
    if not steps:
        return None
    if not resume:
        raise CheckpointError(
            f"{folder.path} already holds a run",
            hint="go on with --resume, choose another folder with --run, or remove this one",
        )
    return steps[-1]


def _first_phase(context: RunContext, plans: list[PhasePlan], state: TrainState | None) -> int:
    """Return the index of the first phase that is not complete."""
    if state is None:
        return 0
    context.step = state.step
    index = [plan.phase.name for plan in plans].index(state.phase)
    steps = plans[index].steps
    if state.phase_step > steps:
        raise CheckpointError(
            f"phase {state.phase} has taken {state.phase_step} steps, but is {steps} steps long",
            hint="give it at least the steps that it has taken",
        )
    is_done = is_phase_done(state, plans[index].phase, steps)
    is_complete = is_done and (state.validated or not context.valid)
    return index + int(is_complete)


def _begin_run(context: RunContext) -> None:
    write_text(context.folder.manifest, dump_manifest(context.manifest))
    write_json(context.folder.lock, _lock(context, _hashes_of_weights(context)))
    truncate_metrics(context.folder.path, 0)
    drop_skipped_after(context.folder.path, 0)


def _resume_run(context: RunContext, state: TrainState, manifest_changed: bool) -> None:
    try:
        before = json.loads(context.folder.lock.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{context.folder.lock} cannot be read: {error}", hint="restore it from a copy of the run"
        ) from error
    now = _lock(context, before.get("weights", {}))
    warn_of_other_versions(before, now)
    if manifest_changed:
        write_text(context.folder.manifest, dump_manifest(context.manifest))
    if now != before:
        write_json(context.folder.lock, now)
    truncate_metrics(context.folder.path, state.metrics_size)
    drop_skipped_after(context.folder.path, state.step)


def _lock(context: RunContext, weights: dict[str, str]) -> dict[str, Any]:
    return make_lock(context.loaded, weights=weights, kernels=context.model.backbone.kernels())


def _hashes_of_weights(context: RunContext) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for name, part in context.model.parts().items():
        assert isinstance(part, Component)
        hashes |= {f"{name}/{path.name}": sha256(path) for path in part.pretrained_files()}
    return hashes


@contextmanager
def _announced(context: RunContext) -> Iterator[None]:
    """Tell plugins that the run starts, and how it ended."""
    if not context.world.is_main:
        yield
        return
    context.hook.modrwkv_run_started(run=context.folder.path, manifest=context.manifest)
    try:
        yield
    except BaseException as error:
        context.hook.modrwkv_run_finished(run=context.folder.path, manifest=context.manifest, error=error)
        raise
    context.hook.modrwkv_run_finished(run=context.folder.path, manifest=context.manifest, error=None)
