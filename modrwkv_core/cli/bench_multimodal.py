"""Benchmarks of models that see and hear: ``modrwkv bench multimodal`` and ``multimodal-train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from modrwkv_core.cli.bench_options import (
    BASELINES,
    DEVICE,
    DTYPE,
    POSITIVE,
    SECONDS,
    THREADS,
    Decorator,
    benchmark,
    on_device,
    size_option,
    to_dtype,
)

if TYPE_CHECKING:
    from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
    from modrwkv_core.benchmarking.report import Report

ENCODER_SIZE = click.option(
    "--encoder-size", metavar="LxD", help="Layers x hidden size of the encoder; by default 2x128, on a GPU 12x768."
)


@benchmark(
    "multimodal-train",
    size_option("4x256, on a GPU 24x1024"),
    ENCODER_SIZE,
    click.option("--image-size", type=POSITIVE, help="Height and width of images; by default 128, on a GPU 384."),
    click.option("--batch-size", type=POSITIVE, help="Conversations of a step; by default 4, on a GPU 16."),
    click.option(
        "--modality", type=click.Choice(["image", "audio"]), default="image", show_default=True, help="What they show."
    ),
    click.option(
        "--train",
        type=click.Choice(["align", "finetune"]),
        default="finetune",
        show_default=True,
        help="What learns: compressor and adapter, or the backbone, too.",
    ),
    click.option("--workers", type=click.IntRange(min=0), help="Of our loader; by default 1, on a GPU 12."),
    click.option("--steps", type=POSITIVE, help="Of a turn; by default 4, on a GPU 50."),
    DTYPE,
    BASELINES,
    DEVICE,
    THREADS,
    SECONDS,
)
def _multimodal_train(
    *,
    size: str | None,
    encoder_size: str | None,
    image_size: int | None,
    batch_size: int | None,
    modality: Literal["image", "audio"],
    train: Literal["align", "finetune"],
    workers: int | None,
    steps: int | None,
    dtype: str | None,
    baselines: bool,
    device: str,
    seconds: float,
) -> Report:
    """Measure training on synthetic images or sounds, from their files to optimizer steps, and the loader alone."""
    from modrwkv_core.benchmarking.multimodal import bench_multimodal_train

    return bench_multimodal_train(
        _multimodal_size(
            device,
            size,
            encoder_size,
            image_size or on_device(device, 128, 384),
            batch_size or on_device(device, 4, 16),
        ),
        modality=modality,
        train=train,
        workers=on_device(device, 1, 12) if workers is None else workers,
        steps=steps or on_device(device, 4, 50),
        device=device,
        dtype=to_dtype(dtype, device),
        seconds=seconds,
        baselines=baselines,
    )


def _values(name: str, default: str, help_text: str) -> Decorator:
    return click.option(name, metavar="N,N,...", callback=_parse_values, help=f"{help_text}; by default {default}.")


def _parse_values(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    numbers = () if value is None else tuple(value.split(","))
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise click.BadParameter(f"{value!r} is not a list of positive whole numbers, such as 512,2048")
    return tuple(map(int, numbers))


@benchmark(
    "multimodal",
    size_option("4x256, on a GPU 24x1024"),
    ENCODER_SIZE,
    click.option("--image-size", type=POSITIVE, help="Height and width of images; by default 64, on a GPU 384."),
    _values("--contexts", "512,2048,8192, on a GPU up to 131072", "Tokens of a prompt, its pictures included"),
    _values("--pictures", "1,8,64", "Pictures of a prompt"),
    _values("--batches", "1,8,64", "Prompts at once"),
    click.option(
        "--limit",
        type=click.FloatRange(min=0, min_open=True),
        default=5.0,
        show_default=True,
        help="Seconds of a call above which larger cells are marked as too slow instead of tried.",
    ),
    click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Draw cost curves in this folder."),
    DTYPE,
    DEVICE,
    THREADS,
    click.option("--seconds", default=60.0, show_default=True, help="How long to measure, all cells together."),
)
def _multimodal(
    *,
    size: str | None,
    encoder_size: str | None,
    image_size: int | None,
    contexts: tuple[int, ...],
    pictures: tuple[int, ...],
    batches: tuple[int, ...],
    limit: float,
    plots: Path | None,
    dtype: str | None,
    device: str,
    seconds: float,
) -> Report:
    """Measure what long prompts with pictures cost ours and a Transformer of equal size, and where the costs cross."""
    from modrwkv_core.benchmarking.costs.grid import Grid
    from modrwkv_core.benchmarking.costs.measuring import bench_multimodal
    from modrwkv_core.benchmarking.costs.plots import write_plots

    default = on_device(device, (512, 2048, 8192), (512, 2048, 8192, 32768, 131072))
    report = bench_multimodal(
        _multimodal_size(device, size, encoder_size, image_size or on_device(device, 64, 384), 1),
        Grid(contexts or default, pictures or (1, 8, 64), batches or (1, 8, 64)),
        device=device,
        dtype=to_dtype(dtype, device),
        seconds=seconds,
        limit=limit,
    )
    if plots is not None:
        write_plots(report, plots)
    return report


def _multimodal_size(
    device: str, size: str | None, encoder_size: str | None, image_size: int, batch_size: int
) -> MultimodalSize:
    from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
    from modrwkv_core.benchmarking.sizes import ModelSize

    vocab_size = on_device(device, 320, 65536)
    return MultimodalSize(
        backbone=ModelSize.parse(size or on_device(device, "4x256", "24x1024"), vocab_size),
        encoder=ModelSize.parse(encoder_size or on_device(device, "2x128", "12x768"), vocab_size),
        image_size=image_size,
        batch_size=batch_size,
    )
