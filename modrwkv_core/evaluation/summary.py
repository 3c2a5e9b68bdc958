"""A run in a few lines, for the head of its report."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from modrwkv_core.manifest.schema import Manifest, ModalityConfig, Phase

__all__ = ["summarize"]


def summarize(
    manifest: Manifest, parameters: int | None, metrics: Sequence[Mapping[str, float | str]]
) -> dict[str, str]:
    """Say what a run is made of, name by name.

    Args:
        manifest: The run's.
        parameters: Number of the model's parameters; None leaves them out.
        metrics: What training logged.
    """
    speeds = {f"speed of {phase.name}": _speed(metrics, phase.name) for phase in manifest.phases}
    return {
        "backbone": f"{manifest.backbone.type}, hidden size {manifest.backbone.in_dim}",
        **{name: _chain(pipeline) for name, pipeline in manifest.modalities.items()},
        "heads": ", ".join(manifest.heads),
        **({} if parameters is None else {"parameters": f"{parameters:,}"}),
        "training": "; ".join(_length(phase) for phase in manifest.phases),
        **{name: speed for name, speed in speeds.items() if speed},
    }


def _chain(pipeline: ModalityConfig) -> str:
    parts = (pipeline.encoder, pipeline.compressor, pipeline.adapter)
    return " → ".join(part.type for part in parts if part is not None)


def _length(phase: Phase) -> str:
    length, unit = (phase.steps, "step") if phase.epochs is None else (phase.epochs, "epoch")
    return f"{phase.name}, {length} {unit}{'' if length == 1 else 's'} of {', '.join(phase.train)}"


def _speed(metrics: Sequence[Mapping[str, float | str]], phase: str) -> str:
    """Return the medians of a phase's log lines in words; nothing if it has none."""
    formats = {
        "tokens_per_second": "{:,.0f} tokens/s",
        "samples_per_second": "{:,.1f} samples/s",
        "mfu": "MFU {:.0%}",
        "data_wait": "waiting for data {:.0%}",
        "padding": "padding {:.0%}",
        "peak_memory_gib": "{:.1f} GiB",
    }
    words = []
    for name, form in formats.items():
        values = [float(line[name]) for line in metrics if line.get("phase") == phase and name in line]
        if values:
            words.append(form.format(statistics.median(values)))
    return ", ".join(words)
