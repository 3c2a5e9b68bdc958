"""``modrwkv bench``: how fast this machine is, beside rivals and beside what it could do at best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch

    from modrwkv_core.benchmarking.report import Report

OPTIONS = (
    click.option("--device", help="Where to measure; by default a GPU if there is one."),
    click.option("--threads", type=click.IntRange(min=1), help="Threads on the CPU; by default what torch takes."),
    click.option("--seconds", default=30.0, show_default=True, help="How long to measure, all cases together."),
    click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the result to this file."),
)


@click.group()
def bench() -> None:
    """Measure speed, in turns with rivals, next to the floor that memory and arithmetic set.

    Every benchmark prints a table with the machine's description. Rivals that are not installed are named as missing.
    """


def _benchmark(run: Callable[..., Report]) -> click.Command:
    """A command that measures with ``run``, prints the table and writes the JSON."""

    def command(
        device: str | None, threads: int | None, seconds: float, json_file: Path | None, **settings: Any
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        report = run(device=device, seconds=seconds, **settings)
        click.echo(report.table())
        if json_file is not None:
            report.write(json_file)

    command.__doc__ = run.__doc__
    command.__click_params__ = list(getattr(run, "__click_params__", []))  # type: ignore[attr-defined]
    for option in reversed(OPTIONS):
        command = option(command)
    return bench.command(run.__name__.removeprefix("_"))(command)


def _size(default_cpu: str, default_gpu: str) -> Callable[..., Any]:
    text = f"LAYERSxWIDTH; by default {default_cpu}, on a GPU {default_gpu}."
    return click.option("--size", metavar="LxD", help=text)


VOCAB = click.option("--vocab", default=65536, show_default=True, help="Rows of the embedding.")
DTYPE = click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), help="By default float32, on a GPU bfloat16."
)
ALONE = click.option("--alone", is_flag=True, help="Leave the rivals out: on a GPU, the peak of memory is then ours.")


def _shape(batch: str, tokens: str) -> Callable[..., Any]:
    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        at_least_one = click.IntRange(min=1)
        command = click.option("--tokens", type=at_least_one, help=f"Tokens of each; by default {tokens}.")(command)
        return click.option("--batch", type=at_least_one, help=f"Sequences; by default {batch}.")(command)

    return add


def _on(device: str, cpu: Any, gpu: Any) -> Any:
    return cpu if device == "cpu" else gpu


def _dtype(name: str | None, device: str) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, name or _on(device, "float32", "bfloat16"))
    return dtype


@_benchmark
@_shape("1, on a GPU 8", "512, on a GPU 2048")
@click.option("--heads", type=click.IntRange(min=1), help="Heads of 64; by default 12, on a GPU 32.")
@DTYPE
def _wkv7(
    *, batch: int | None, tokens: int | None, heads: int | None, dtype: str | None, device: str, seconds: float
) -> Report:
    """Measure the recurrence alone, forward and with its gradients."""
    from modrwkv_core.benchmarking.wkv7 import bench_wkv7

    return bench_wkv7(
        batch=batch or _on(device, 1, 8),
        tokens=tokens or _on(device, 512, 2048),
        heads=heads or _on(device, 12, 32),
        device=device,
        dtype=_dtype(dtype, device),
        seconds=seconds,
    )


@_benchmark
@_size("12x768", "24x2048")
@_shape("1, on a GPU 8", "512, on a GPU 2048")
@DTYPE
@ALONE
def _layer(
    *,
    size: str | None,
    batch: int | None,
    tokens: int | None,
    dtype: str | None,
    alone: bool,
    device: str,
    seconds: float,
) -> Report:
    """Measure one block, forward and backward."""
    from modrwkv_core.benchmarking.sizes import ModelSize
    from modrwkv_core.benchmarking.training import bench_layer

    return bench_layer(
        ModelSize.parse(size or _on(device, "12x768", "24x2048"), 8),
        batch=batch or _on(device, 1, 8),
        tokens=tokens or _on(device, 512, 2048),
        device=device,
        dtype=_dtype(dtype, device),
        seconds=seconds,
        alone=alone,
    )


@_benchmark
@_size("4x256", "24x1024")
@_shape("4, on a GPU 8", "256, on a GPU 4096")
@click.option("--vocab", type=click.IntRange(min=2), help="Rows of the embedding; by default 512, on a GPU 65536.")
@DTYPE
@ALONE
def _train(
    *,
    size: str | None,
    batch: int | None,
    tokens: int | None,
    vocab: int | None,
    dtype: str | None,
    alone: bool,
    device: str,
    seconds: float,
) -> Report:
    """Measure training steps of a whole model: forward, loss, backward, AdamW."""
    from modrwkv_core.benchmarking.sizes import ModelSize
    from modrwkv_core.benchmarking.training import bench_train

    return bench_train(
        ModelSize.parse(size or _on(device, "4x256", "24x1024"), vocab or _on(device, 512, 65536)),
        batch=batch or _on(device, 4, 8),
        tokens=tokens or _on(device, 256, 4096),
        device=device,
        dtype=_dtype(dtype, device),
        seconds=seconds,
        alone=alone,
    )


@_benchmark
@_size("12x768", "24x2048")
@VOCAB
@click.option("--tokens", default=512, show_default=True, help="Length of the prompt.")
def _prefill(*, size: str | None, vocab: int, tokens: int, device: str, seconds: float) -> Report:
    """Measure reading a prompt, up to the logits of its last token."""
    from modrwkv_core.benchmarking.prefill import bench_prefill
    from modrwkv_core.benchmarking.sizes import ModelSize

    trunk = ModelSize.parse(size or _on(device, "12x768", "24x2048"), vocab)
    return bench_prefill(trunk, tokens=tokens, device=device, seconds=seconds)


@_benchmark
@_size("12x768", "24x2048")
@VOCAB
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    multiple=True,
    help="Sequences decoded together; may be repeated; 1 by default.",
)
def _decode(*, size: str | None, vocab: int, rows: tuple[int, ...], device: str, seconds: float) -> Report:
    """Measure decoding token by token."""
    from modrwkv_core.benchmarking.decode import bench_decode
    from modrwkv_core.benchmarking.sizes import ModelSize

    trunk = ModelSize.parse(size or _on(device, "12x768", "24x2048"), vocab)
    return bench_decode(trunk, rows=rows or (1,), device=device, seconds=seconds)
