"""Every hook of ModRWKV: the whole extension surface on one page.

Four hooks register things and are called once per process, on every plugin; they return records of
:mod:`modrwkv_core.plugin` and import nothing heavy. Five more tell plugins of a run's coarse events: loggers and
callbacks are such plugins, the built-in one that writes ``metrics.jsonl`` included. Nothing here is called in an inner
loop. A hook takes those of its arguments that it names. If ``modrwkv_run_started`` fails, the run does not begin; if a
later one fails, the user is warned, and the plugin is told nothing more of that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

from modrwkv_core.plugin import CommandSpec, ComponentSpec, ModalitySpec, PresetSpec

if TYPE_CHECKING:
    from modrwkv_core.manifest.schema import Manifest

hookspec = pluggy.HookspecMarker("modrwkv")


@hookspec
def modrwkv_components() -> Iterable[ComponentSpec]:
    """Return the components that the plugin provides."""
    return ()


@hookspec
def modrwkv_modalities() -> Iterable[ModalitySpec]:
    """Return the kinds of signal that the plugin can decode."""
    return ()


@hookspec
def modrwkv_presets() -> Iterable[PresetSpec]:
    """Return the named manifest pieces that the plugin ships."""
    return ()


@hookspec
def modrwkv_commands() -> Iterable[CommandSpec]:
    """Return the commands that the plugin adds to the ``modrwkv`` program."""
    return ()


@hookspec
def modrwkv_run_started(run: Path, manifest: Manifest) -> None:
    """A training run begins or resumes; nothing has been trained yet.

    Args:
        run: The run's folder.
        manifest: The resolved manifest.
    """


@hookspec
def modrwkv_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Training or validation has new metrics.

    Args:
        run: The run's folder.
        step: Optimizer steps taken since the run's beginning, over all phases.
        metrics: Value by name, for example ``{"phase": "align", "loss/lm": 2.31, "tokens_per_second": 8100.0}``.
            Beside losses: ``gradient_norm``, ``lr``, ``samples_per_second``, ``data_wait``, ``padding``,
            ``peak_memory_gib`` and, on GPUs, ``mfu``.
    """


@hookspec
def modrwkv_checkpoint_saved(run: Path, checkpoint: Path, step: int) -> None:
    """A checkpoint is complete on disk.

    Args:
        run: The run's folder.
        checkpoint: The checkpoint's folder.
        step: Optimizer steps taken since the run's beginning, over all phases.
    """


@hookspec
def modrwkv_run_finished(run: Path, manifest: Manifest, error: BaseException | None) -> None:
    """A training run has ended, after its last phase or before it.

    Args:
        run: The run's folder.
        manifest: The resolved manifest.
        error: What stopped it; None if it is complete.
    """


@hookspec
def modrwkv_evaluated(run: Path, step: int, metrics: Mapping[str, float]) -> None:
    """A trained run has been evaluated.

    Args:
        run: The run's folder.
        step: Optimizer steps of the checkpoint.
        metrics: Value by name, for example ``{"tones/accuracy": 0.97}``: the entry of ``evaluation`` and its metric.
    """
