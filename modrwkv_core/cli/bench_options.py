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


def _to_dtype(name: str) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _set_threads(ctx: click.Context, parameter: click.Parameter, value: int | None) -> None:
    if value is not None:
        import torch

        torch.set_num_threads(value)


def by_device(
    name: str, cpu: Any, gpu: Any, help_text: str, *, convert: Callable[[Any], Any] | None = None, **settings: Any
) -> Decorator:
    """Return an option with a default for each kind of device; the command needs :data:`DEVICE`, too.

    Args:
        name: Of the option.
        cpu: The default on the CPU.
        gpu: The default on a GPU.
        help_text: What it is, without the defaults.
        convert: Makes what the command gets of what is given.
        settings: Others of ``click.option``.
    """

    def choose(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        chosen = on_device(ctx.params["device"], cpu, gpu) if value is None else value
        return chosen if convert is None else convert(chosen)

    described = f"{help_text}; by default {cpu}, on a GPU {gpu}."
    return click.option(name, callback=choose, help=described, **settings)


def size_option(cpu: str, gpu: str) -> Decorator:
    """Return the option of a model's size."""
    return by_device("--size", cpu, gpu, "Layers x hidden size", metavar="LxD")


def shape_options(batch_size: tuple[int, int], tokens: tuple[int, int]) -> Decorator:
    """Return the options of a batch's shape, with their defaults on the CPU and on a GPU."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = by_device("--tokens", *tokens, "Tokens of each", type=POSITIVE)(command)
        return by_device("--batch-size", *batch_size, "Sequences", type=POSITIVE)(command)

    return add


def seconds_option(default: float, measured: str) -> Decorator:
    """Return the option of the time in which ``measured`` are measured."""
    help_text = f"How long to measure, all {measured} together; 0 makes each call as few times as it can."
    return click.option("--seconds", type=click.FloatRange(min=0), default=default, show_default=True, help=help_text)


POSITIVE = click.IntRange(min=1)
SECONDS = seconds_option(30.0, "cases")
JSON = click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the result to this file.")
DEVICE = click.option(
    "--device",
    callback=_choose_device,
    is_eager=True,  # other defaults depend on it
    help="Where to measure; by default a GPU if there is one.",
)
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
WEIGHTS = click.option("--weights", default="auto", show_default=True, help="How weights are stored for decoding.")
DTYPE = by_device(
    "--dtype",
    "float32",
    "bfloat16",
    "dtype of the computation",
    convert=_to_dtype,
    type=click.Choice(["float32", "bfloat16"]),
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
