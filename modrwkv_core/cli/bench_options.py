"""What the benchmarks' commands share: how they are made, and their options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modrwkv_core.errors import ModRWKVError

if TYPE_CHECKING:
    import torch

    from modrwkv_core.benchmarking.report import Report

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@click.group()
def bench() -> None:
    """Measure speed, in turns with baselines, next to the roofline bound of memory and arithmetic.

    Every benchmark prints a table and describes the machine. Baselines that are not installed are listed as missing.
    """


def benchmark(name: str, *options: Decorator) -> Callable[[Callable[..., Report]], click.Command]:
    """Make a command of a function that measures: it prints the table and writes the JSON."""

    def decorate(run: Callable[..., Report]) -> click.Command:
        def measure(json_file: Path | None, **settings: Any) -> None:
            report = run(**settings)
            click.echo(report.table())
            if json_file is not None:
                report.write(json_file)

        measure.__doc__ = run.__doc__
        command: Callable[..., Any] = measure
        decorators: list[Decorator] = [*options, JSON]
        for option in reversed(decorators):
            command = option(command)
        return bench.command(name)(command)

    return decorate


def _choose_device(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str:
    import torch

    if value is not None and value != "cpu" and not torch.cuda.is_available():
        raise ModRWKVError(f"the device {value!r} is not available", hint="`modrwkv doctor` lists the devices")
    return value or ("cuda" if torch.cuda.is_available() else "cpu")


def _set_threads(ctx: click.Context, parameter: click.Parameter, value: int | None) -> None:
    if value is not None:
        import torch

        torch.set_num_threads(value)


def size_option(default: str) -> Decorator:
    """Return the option of a model's size."""
    return click.option("--size", metavar="LxD", help=f"Layers x hidden size; by default {default}.")


def shape_options(batch_size: str, tokens: str) -> Decorator:
    """Return the options of a batch's shape, whose defaults are these."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--tokens", type=POSITIVE, help=f"Tokens of each; by default {tokens}.")(command)
        return click.option("--batch-size", type=POSITIVE, help=f"Sequences; by default {batch_size}.")(command)

    return add


POSITIVE = click.IntRange(min=1)
JSON = click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the result to this file.")
SECONDS = click.option("--seconds", default=30.0, show_default=True, help="How long to measure, all cases together.")
DEVICE = click.option("--device", callback=_choose_device, help="Where to measure; by default a GPU if there is one.")
THREADS = click.option(
    "--threads",
    type=POSITIVE,
    callback=_set_threads,
    expose_value=False,
    help="Threads on the CPU; by default what torch chooses.",
)
VOCAB_SIZE = click.option("--vocab-size", type=click.IntRange(min=2), default=65536, show_default=True)
BATCH_SIZES = click.option(
    "--batch-size",
    "batch_sizes",
    type=POSITIVE,
    multiple=True,
    default=(1,),
    show_default=True,
    help="Sequences decoded together; may be repeated.",
)
DTYPE = click.option(
    "--dtype", type=click.Choice(["float32", "bfloat16"]), help="By default float32, on a GPU bfloat16."
)
BASELINES = click.option(
    "--baselines/--no-baselines",
    default=True,
    show_default=True,
    help="Measure baselines, too. Without them the result on a GPU has the peak memory.",
)


def on_device(device: str, cpu: Any, gpu: Any) -> Any:
    """Return a default by the kind of device."""
    return cpu if device == "cpu" else gpu


def to_dtype(name: str | None, device: str) -> torch.dtype:
    """Return the dtype of this name, by default the one that the device computes fastest in."""
    import torch

    dtype: torch.dtype = getattr(torch, name or on_device(device, "float32", "bfloat16"))
    return dtype
