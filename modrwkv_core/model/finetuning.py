"""The fine-tuning methods of a run's parts, as its phases say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.build import build
from modrwkv_core.model.train_state import TrainState

__all__ = ["finetuning_method", "merge_parts", "methods_of_parts", "prepare_parts"]

Method = FinetuningMethod[Any]


def finetuning_method(loaded: LoadedManifest, phase: Phase) -> Method:
    """Build the fine-tuning method of a phase."""
    method: Method = build(loaded.registry, "finetuning", phase.finetuning.type, phase.finetuning)
    return method


def methods_of_parts(loaded: LoadedManifest, state: TrainState) -> list[tuple[str, Method]]:
    """Return the parts that have learned where a run stands, with their methods, in the order of its phases.

    Raises:
        CheckpointError: The manifest does not have the phase.
    """
    manifest = loaded.manifest
    names = [each.name for each in manifest.phases]
    if state.phase not in names:
        raise CheckpointError(
            f"the checkpoint is that of phase '{state.phase}', which the manifest does not have",
            hint=f"its phases: {', '.join(names)}",
        )
    # A phase without a step, as of an imported checkpoint, has not prepared its parts.
    begun = names.index(state.phase) + (1 if state.phase_step else 0)
    methods = [(each, finetuning_method(loaded, each)) for each in manifest.phases[:begun]]
    return [(name, method) for each, method in methods for name in manifest.select(each.train)]


def prepare_parts(parts: Mapping[str, Component], methods: Iterable[tuple[str, Method]]) -> dict[str, Method]:
    """Prepare parts by their methods, and return the method that last trained each."""
    last = {}
    for name, method in methods:
        with guard(method.origin, "prepare()"):
            method.prepare(parts[name])
        last[name] = method
    return last


def merge_parts(parts: Mapping[str, Component], methods: Sequence[tuple[str, Method]]) -> None:
    """Undo what :func:`prepare_parts` did to the layers of parts, keeping what they compute."""
    for name, method in reversed(methods):
        with guard(method.origin, "merge()"):
            method.merge(parts[name])
