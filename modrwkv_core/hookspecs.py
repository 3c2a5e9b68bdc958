"""Every hook of ModRWKV: the whole extension surface on one page.

Four hooks register things and are called once per process, on every plugin; they return records of
:mod:`modrwkv_core.plugin` and import nothing heavy. Four more tell plugins of a run's coarse events; the built-in
loggers are such plugins. Nothing here is called in an inner loop.
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
    """A training run begins or resumes.

    Args:
        run: The run's folder.
        manifest: The resolved manifest.
    """


@hookspec
def modrwkv_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Training or evaluation has new metrics.

    Args:
        run: The run's folder.
        step: Optimizer steps taken since the run's beginning, over all phases.
        metrics: Name to figure, for example ``{"phase": "align", "loss/lm": 2.31, "tokens_per_second": 8100.0}``.
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
def modrwkv_run_finished(run: Path, manifest: Manifest) -> None:
    """A training run has ended after its last phase.

    Args:
        run: The run's folder.
        manifest: The resolved manifest.
    """
