"""What the core brings itself, registered through the same hooks that every plugin uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from modrwkv_core.builtin import data, evaluation, model, training
from modrwkv_core.plugin import CommandSpec, ComponentSpec, ModalitySpec, PresetSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the components of the core."""
    return [*model.COMPONENTS, *data.COMPONENTS, *training.COMPONENTS, *evaluation.COMPONENTS]


@hookimpl
def modrwkv_modalities() -> list[ModalitySpec]:
    """Return image, audio, series and features."""
    return [
        ModalitySpec(
            api=1,
            name="image",
            summary="images",
            implementation="modrwkv_core.modalities.image:ImageModality",
            suffixes=(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
        ),
        ModalitySpec(
            api=1,
            name="audio",
            summary="recordings",
            implementation="modrwkv_core.modalities.audio:AudioModality",
            suffixes=(".wav", ".flac", ".mp3", ".ogg", ".opus"),
        ),
        ModalitySpec(
            api=1,
            name="series",
            summary="measurements at equal time steps",
            implementation="modrwkv_core.modalities.series:SeriesModality",
            suffixes=(".csv", ".npy", ".parquet"),
        ),
        ModalitySpec(
            api=1,
            name="features",
            summary="ready-made feature arrays",
            implementation="modrwkv_core.modalities.features:FeaturesModality",
            suffixes=(".npy", ".npz"),
        ),
    ]


@hookimpl
def modrwkv_presets() -> list[PresetSpec]:
    """Return the sizes of the released backbones, and the paper's recipe."""
    return [
        PresetSpec(api=1, name=name, summary=summary, resource=f"modrwkv_core.presets:{name}.yaml")
        for name, summary in (
            ("rwkv7-0b1", "sizes of the released RWKV-7 0.1B, World tokenizer"),
            ("rwkv7-0b4", "sizes of the released RWKV-7 0.4B, World tokenizer"),
            ("rwkv7-1b5", "sizes of the released RWKV-7 1.5B, World tokenizer"),
            ("rwkv7-2b9", "sizes of the released RWKV-7 2.9B, World tokenizer"),
            ("two-phase", "the paper's recipe: adapter first, then adapter and backbone"),
        )
    ]


@hookimpl
def modrwkv_commands() -> list[CommandSpec]:
    """Return the commands of the core."""
    return [
        CommandSpec(api=1, name=name, summary=summary, command=f"modrwkv_core.cli.{name}:{name}")
        for name, summary in (
            ("plugins", "list, inspect and diagnose what is installed; write and check plugins"),
            ("check", "validate a manifest and its wiring, without weights"),
            ("show", "print the resolved manifest with where each value came from"),
            ("schema", "write the manifest's JSON Schema for editors"),
            ("train", "run the phases of a manifest"),
            ("evaluate", "evaluate a trained run on its tasks and write a report"),
            ("compare", "say which differences between evaluated runs are significant"),
            ("report", "write the report of a run, also while it trains"),
            ("sweep", "compare settings of a manifest, seed by seed"),
            ("generate", "ask a trained run about text, images, sounds, series"),
            ("chat", "talk with a trained run, in turns"),
            ("forecast", "continue a series"),
            ("serve", "answer requests over HTTP, by OpenAI's protocol"),
            ("transcribe", "write what is said in a recording of any length"),
            ("convert", "rewrite RWKV-7 weights in another layout, or import pretrained models"),
            ("export", "write a run's language model for llama.cpp or transformers"),
            ("pull", "fetch a run from the Hugging Face Hub"),
            ("push", "publish a run on the Hugging Face Hub"),
            ("bench", "measure speed, next to baselines and the machine's limits"),
            ("doctor", "what this machine can do: kernels, versions, plugins"),
        )
    ]


@hookimpl
def modrwkv_run_started(run: Path) -> None:
    """Write ``metrics.csv`` anew: a resumed run has dropped the steps that it repeats."""
    from modrwkv_core.training.csv_log import write_csv

    write_csv(run)


@hookimpl
def modrwkv_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Write the metrics to the run's ``metrics.jsonl`` and ``metrics.csv``."""
    from modrwkv_core.training.csv_log import append_csv
    from modrwkv_core.training.loggers import append_metrics

    append_metrics(run, step, metrics)
    append_csv(run, step, metrics)
