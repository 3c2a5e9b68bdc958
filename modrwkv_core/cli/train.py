"""``modrwkv train``: run the phases of a manifest."""

from __future__ import annotations

import os
from pathlib import Path
from signal import Signals

import click


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", type=click.Path(path_type=Path), help="Folder of the run; by default runs/<name>.")
@click.option("--resume", is_flag=True, help="Go on from the run's newest checkpoint, if it has one.")
@click.option("--device", help="Where to train; by default a GPU if there is one.")
@click.option(
    "--devices", type=click.IntRange(min=1), default=1, show_default=True, help="GPUs (or processes) of this machine."
)
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def train(
    manifest: Path,
    overrides: tuple[str, ...],
    run: Path | None,
    resume: bool,
    device: str | None,
    devices: int,
    quiet: bool,
) -> None:
    """Run the phases of MANIFEST.

    With --devices, or under torchrun or srun, several processes train one model together.

    Ctrl-C and SIGTERM finish the step and save a checkpoint. The exit code is 130 after Ctrl-C and 0 after SIGTERM,
    with which schedulers preempt a job that goes on later.

    KEY=VALUE changes a value of the manifest, for example phases.align.lr=2e-4.
    """
    from modrwkv_core.manifest.load import load_manifest
    from modrwkv_core.manifest.wiring import check_wiring

    loaded = load_manifest(manifest, overrides)
    check_wiring(loaded)

    from modrwkv_core.model.device import choose_device
    from modrwkv_core.training.interrupts import TrainingInterruptedError
    from modrwkv_core.training.launch import launch
    from modrwkv_core.training.loop import train as run_phases

    run = run or Path("runs") / loaded.manifest.name
    if devices > 1:
        options = ["--run", str(run), "--device", choose_device(device)]
        options += [name for name, is_set in (("--resume", resume), ("--quiet", quiet)) if is_set]
        click.get_current_context().exit(launch(["train", str(manifest), *overrides, *options], devices))
    try:
        run_phases(loaded, run, resume=resume, device=choose_device(device), progress_bar=not quiet)
    except TrainingInterruptedError as interruption:
        click.echo(str(interruption), err=True)
        click.get_current_context().exit(130 if interruption.signal is Signals.SIGINT else 0)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"trained: {run}")
        click.echo(f"next:    modrwkv evaluate {run}")
