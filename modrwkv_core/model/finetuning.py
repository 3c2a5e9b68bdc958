"""The fine-tuning methods of a run's parts, as its phases say."""

from __future__ import annotations

from typing import Any

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.build import build
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["finetuning_method", "prepare_parts"]


def finetuning_method(loaded: LoadedManifest, phase: Phase) -> FinetuningMethod[Any]:
    """Build the fine-tuning method of a phase."""
    method: FinetuningMethod[Any] = build(loaded.registry, "finetuning", phase.finetuning.type, phase.finetuning)
    return method


def prepare_parts(loaded: LoadedManifest, model: MultimodalModel, phase: str) -> dict[str, FinetuningMethod[Any]]:
    """Prepare the parts that the phases up to ``phase`` train, and return the method that last trained each.

    Raises:
        CheckpointError: The manifest has no such phase.
    """
    manifest = loaded.manifest
    names = [each.name for each in manifest.phases]
    if phase not in names:
        raise CheckpointError(
            f"the checkpoint is that of phase '{phase}', which the manifest does not have",
            hint=f"its phases: {', '.join(names)}",
        )
    parts = model.parts()
    methods = {}
    for each in manifest.phases[: names.index(phase) + 1]:
        method = finetuning_method(loaded, each)
        for name in manifest.select(each.train):
            part = parts[name]
            assert isinstance(part, Component)
            with guard(method.origin, "prepare()"):
                method.prepare(part)
            methods[name] = method
    return methods
