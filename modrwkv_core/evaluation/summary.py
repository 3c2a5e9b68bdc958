"""A run in a few lines, for the head of its report."""

from __future__ import annotations

from modrwkv_core.manifest.schema import Manifest, ModalityConfig, Phase

__all__ = ["summarize"]


def summarize(manifest: Manifest, parameters: int) -> dict[str, str]:
    """Say what a run is made of, name by name.

    Args:
        manifest: The run's.
        parameters: Number of the model's parameters.
    """
    return {
        "backbone": f"{manifest.backbone.type}, hidden size {manifest.backbone.in_dim}",
        **{name: _chain(pipeline) for name, pipeline in manifest.modalities.items()},
        "heads": ", ".join(manifest.heads),
        "parameters": f"{parameters:,}",
        "training": "; ".join(_length(phase) for phase in manifest.phases),
    }


def _chain(pipeline: ModalityConfig) -> str:
    parts = (pipeline.encoder, pipeline.compressor, pipeline.adapter)
    return " → ".join(part.type for part in parts if part is not None)


def _length(phase: Phase) -> str:
    length, unit = (phase.steps, "step") if phase.epochs is None else (phase.epochs, "epoch")
    return f"{phase.name}, {length} {unit}{'' if length == 1 else 's'} of {', '.join(phase.train)}"
