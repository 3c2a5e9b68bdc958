"""Benchmarks of models that see and hear: ``modrwkv bench multimodal`` and ``multimodal-train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    by_device,
    on_device,
    seconds_option,
    size_option,
)

if TYPE_CHECKING:
    from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
    from modrwkv_core.benchmarking.report import Report

ENCODER_SIZE = by_device("--encoder-size", "2x128", "12x768", "Layers x hidden size of the encoder", metavar="LxD")


def _numbers(value: str) -> tuple[int, ...]:
    numbers = value.split(",")
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise click.BadParameter(f"{value!r} is not a list of positive whole numbers, such as 512,2048")
    return tuple(map(int, numbers))


def _numbers_option(name: str, default: str, help_text: str) -> Decorator:
    return click.option(
        name,
        metavar="N,N,...",
        callback=lambda ctx, parameter, value: _numbers(value),
        default=default,
        show_default=True,
        help=help_text,
    )


@benchmark(
    "multimodal-train",
    size_option("4x256", "24x1024"),
    ENCODER_SIZE,
    by_device("--image-size", 128, 384, "Height and width of images", type=POSITIVE),
    by_device("--batch-size", 4, 16, "Conversations of a step", type=POSITIVE),
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
    by_device("--workers", 1, 12, "Of our loader", type=click.IntRange(min=0)),
    by_device("--steps", 4, 50, "Of a turn", type=POSITIVE),
    DTYPE,
    BASELINES,
    DEVICE,
    THREADS,
    SECONDS,
)
def _multimodal_train(
    *, size: str, encoder_size: str, image_size: int, batch_size: int, device: str, **settings: Any
) -> Report:
    """Measure training on synthetic images or sounds, from their files to optimizer steps, and the loader alone."""
    from modrwkv_core.benchmarking.multimodal import bench_multimodal_train

    measured = _multimodal_size(device, size, encoder_size, image_size, batch_size)
    return bench_multimodal_train(measured, device=device, **settings)


@benchmark(
    "multimodal",
    size_option("4x256", "24x1024"),
    ENCODER_SIZE,
    by_device("--image-size", 64, 384, "Height and width of images", type=POSITIVE),
    by_device(
        "--contexts",
        "512,2048,8192",
        "512,2048,8192,32768,131072",
        "Tokens of a prompt, its pictures included",
        convert=_numbers,
        metavar="N,N,...",
    ),
    _numbers_option("--pictures", "1,8,64", "Pictures of a prompt."),
    _numbers_option("--batches", "1,8,64", "Prompts at once."),
    click.option(
        "--limit",
        type=click.FloatRange(min=0),
        default=5.0,
        show_default=True,
        help="Seconds of a call above which larger cells are marked as too slow instead of tried.",
    ),
    click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Draw cost curves in this folder."),
    DTYPE,
    DEVICE,
    THREADS,
    seconds_option(60.0, "cells"),
)
def _multimodal(
    *,
    size: str,
    encoder_size: str,
    image_size: int,
    contexts: tuple[int, ...],
    pictures: tuple[int, ...],
    batches: tuple[int, ...],
    plots: Path | None,
    device: str,
    **settings: Any,
) -> Report:
    """Measure what long prompts with pictures cost ours and a Transformer of equal size, and where the costs cross."""
    from modrwkv_core.benchmarking.costs.grid import Grid
    from modrwkv_core.benchmarking.costs.measuring import bench_multimodal
    from modrwkv_core.benchmarking.costs.plots import write_plots

    measured = _multimodal_size(device, size, encoder_size, image_size, 1)
    report = bench_multimodal(measured, Grid(contexts, pictures, batches), device=device, **settings)
    if plots is not None:
        write_plots(report, plots)
    return report


def _multimodal_size(device: str, size: str, encoder_size: str, image_size: int, batch_size: int) -> MultimodalSize:
    from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
    from modrwkv_core.benchmarking.sizes import ModelSize

    vocab_size = on_device(device, 320, 65536)
    return MultimodalSize(
        backbone=ModelSize.parse(size, vocab_size),
        encoder=ModelSize.parse(encoder_size, vocab_size),
        image_size=image_size,
        batch_size=batch_size,
    )
