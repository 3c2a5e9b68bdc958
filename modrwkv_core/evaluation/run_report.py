"""From a run's folder to its report, at any time: nothing but the folder's files is read, and no model is built."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.evaluation.cards import read_evaluations
from modrwkv_core.evaluation.report import REPORT, Table, write_report
from modrwkv_core.evaluation.summary import summarize
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.manifest.load import dump_manifest, load_manifest
from modrwkv_core.manifest.lock import read_lock
from modrwkv_core.manifest.schema import VALID_LOSS, Manifest, Phase
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import BestCheckpoint, TrainState
from modrwkv_core.storage.tensor_shapes import read_shapes
from modrwkv_core.training.diagnosis import diagnose, unused_modalities
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.skipped import SKIPPED, read_skipped

__all__ = ["write_run_report"]

_SHOWN: Final = 50
"""Broken records in the report."""


def write_run_report(run: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path; the run may be training, killed or complete.

    Raises:
        CheckpointError: The folder holds no run, or one of its files is damaged.
        ManifestError: The run's manifest is not valid.
        PluginError: A plugin that the manifest names is missing or broken.
        WriteError: The folder cannot be written.
    """
    folder = RunFolder(run)
    if not folder.manifest.is_file():
        raise CheckpointError(
            f"{run} holds no run: it has no manifest.yaml", hint="name the folder that `modrwkv train --run` wrote"
        )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MODRWKV__")}
    manifest = load_manifest(folder.manifest, environ=environ, locked=read_lock(folder.lock).providers).manifest
    checkpoints = folder.steps()
    state = TrainState.read(checkpoints[-1]) if checkpoints else None
    metrics = read_metrics(run)
    parts = _parts(manifest, checkpoints[-1] if checkpoints else None)
    best = {each.phase: each.best for each in map(TrainState.read, checkpoints) if each.best is not None}
    tables = [
        Table("Phases", ("Phase", "Trains", "Steps", "Learning rate", "Batch", "Last loss", "Validation loss",
                         "Best validation"),
              [_phase(manifest, phase, state, metrics, best.get(phase.name)) for phase in manifest.phases]),
        Table("Modalities", ("Phase", "Modality", "Gain", "Features over text", "Verdict"),
              list(_modalities(manifest, metrics))),
        Table("Parts", ("Part", "Component", "Parameters"), parts),
        Table("Data", ("Used for", "Source", "Settings"), list(_data(manifest))),
        Table("Broken records, left out", ("Phase", "Source", "Record", "Reason"), list(_skipped(run))),
        Table("Environment", ("What", "Version"), list(_environment(folder))),
    ]  # fmt: skip
    write_report(
        run / REPORT,
        manifest.name,
        {
            "state": _state(folder, manifest, state, metrics),
            **summarize(manifest, _total(manifest, checkpoints), metrics),
        },
        read_evaluations(run),
        metrics,
        tables=tables,
        manifest=dump_manifest(manifest),
    )
    return run / REPORT


def _state(
    folder: RunFolder, manifest: Manifest, state: TrainState | None, metrics: Sequence[Mapping[str, float | str]]
) -> str:
    """Say where the run stands."""
    logged = f"step {int(float(metrics[-1]['step'])):,}, phase {metrics[-1]['phase']}" if metrics else "nothing logged"
    if folder.is_training():
        return f"training ({logged} so far)"
    if state is None:
        return f"stopped without a checkpoint ({logged})"
    if state.phase_done and state.phase == manifest.phases[-1].name:
        return f"complete, {state.step:,} steps"
    return f"stopped; the newest checkpoint is of step {state.step:,}, phase {state.phase}"


def _phase(
    manifest: Manifest,
    phase: Phase,
    state: TrainState | None,
    metrics: Sequence[Mapping[str, float | str]],
    best: BestCheckpoint | None,
) -> list[str]:
    lines = [line for line in metrics if line.get("phase") == phase.name]
    names = [one.name for one in manifest.phases]
    if state is None or state.phase not in names or names.index(state.phase) < names.index(phase.name):
        taken = "0"
    elif state.phase == phase.name:
        taken = f"{state.phase_step:,}"
    else:
        taken = "all"
    planned = f"{phase.steps:,}" if phase.epochs is None else f"{phase.epochs} epochs"
    return [
        phase.name,
        ", ".join(phase.train),
        f"{taken} of {planned}",
        f"{phase.lr:g}",
        _batch(manifest, phase),
        *(_last(lines, word) for word in ("loss", "valid")),
        "none" if best is None else f"{best.metric} {best.value:.4g} after step {best.step:,}",
    ]


def _modalities(manifest: Manifest, metrics: Sequence[Mapping[str, float | str]]) -> Iterator[list[str]]:
    """Say by phase whether the model uses each modality, and if not, the likely cause."""
    for phase in manifest.phases:
        lines = [line for line in metrics if line.get("phase") == phase.name]
        measured = [line for line in lines if VALID_LOSS in line]
        for modality in manifest.modalities:
            gains = [float(line[name]) for line in measured if (name := f"modality_gain/{modality}") in line]
            if not gains:
                continue
            last = {name: float(value) for name, value in measured[-1].items() if not isinstance(value, str)}
            ratios = [float(line[name]) for line in lines if (name := f"feature_norm/{modality}") in line]
            if modality in unused_modalities(last, last[VALID_LOSS]):
                found = diagnose(modality, lines, phase.max_grad_norm)
                verdict = f"not used: {found.cause}; {found.remedy}"
            else:
                verdict = "used"
            yield [
                phase.name,
                modality,
                f"{gains[-1]:.3g}",
                f"{statistics.median(ratios):.3g}" if ratios else "not measured",
                verdict,
            ]


def _batch(manifest: Manifest, phase: Phase) -> str:
    size, tokens = manifest.batch_limits(phase)
    return ", ".join([*([str(size)] if size else []), *([f"{tokens:,} tokens"] if tokens else [])])


def _last(lines: Sequence[Mapping[str, float | str]], word: str) -> str:
    """Write the newest losses of each head."""
    newest = {name: value for line in lines for name, value in line.items() if name.startswith(f"{word}/")}
    return ", ".join(f"{name.partition('/')[2]} {float(value):.4g}" for name, value in newest.items()) or "none"


def _parts(manifest: Manifest, checkpoint: Path | None) -> list[list[str]]:
    components = {
        **{
            f"{name}.{kind}": config.type
            for name, pipeline in manifest.modalities.items()
            for kind, config in pipeline.components()
        },
        "backbone": manifest.backbone.type,
        **{f"heads.{name}": head.type for name, head in manifest.heads.items()},
    }
    return [
        [part, components[part], "unknown" if checkpoint is None else f"{_parameters(checkpoint, part):,}"]
        for part in manifest.parts
    ]


def _parameters(checkpoint: Path, part: str) -> int:
    """Count the numbers that a checkpoint holds of a part."""
    path = checkpoint / f"{part}.safetensors"
    return sum(map(prod, read_shapes(path).values())) if path.exists() else 0


def _total(manifest: Manifest, checkpoints: Sequence[Path]) -> int | None:
    return sum(_parameters(checkpoints[-1], part) for part in manifest.parts) if checkpoints else None


def _data(manifest: Manifest) -> Iterator[list[str]]:
    uses: list[tuple[str, Sequence[SourceConfig]]] = [("training", manifest.data.train)]
    uses += [(f"training, phase {phase.name}", phase.data) for phase in manifest.phases if phase.data]
    uses.append(("validation", manifest.data.valid))
    uses += [(f"evaluation, {name}", [section.data]) for name, section in manifest.evaluation.items()]
    for use, sources in uses:
        for source in sources:
            settings = source.model_dump(mode="json", exclude={"source"}, exclude_defaults=True)
            yield [use, source.source, ", ".join(f"{key}: {value}" for key, value in settings.items()) or "defaults"]


def _skipped(run: Path) -> Iterator[list[str]]:
    lines = read_skipped(run)
    for line in lines[:_SHOWN]:
        yield [line.phase, line.source, str(line.record), line.reason]
    if len(lines) > _SHOWN:
        yield ["...", "", "", f"{SKIPPED} names {len(lines) - _SHOWN} more"]


def _environment(folder: RunFolder) -> Iterator[list[str]]:
    try:
        lock: dict[str, Any] = json.loads(folder.lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    yield ["seed", str(lock.get("seed"))]
    yield ["python", str(lock.get("python"))]
    for name, version in lock.get("packages", {}).items():
        if version is not None:
            yield [name, version]
    for component, provider in lock.get("components", {}).items():
        yield [component, f"{provider['distribution']} {provider['version']}"]
    for operation, backend in lock.get("kernels", {}).items():
        yield [f"kernel {operation}", backend]
