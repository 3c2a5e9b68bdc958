"""``modrwkv train``: run the phases of a manifest."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", type=click.Path(path_type=Path), help="Folder of the run; by default runs/<name>.")
@click.option("--resume", is_flag=True, help="Go on from the run's newest checkpoint, if it has one.")
@click.option("--device", help="Where to train; by default a GPU if there is one.")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def train(
    manifest: Path, overrides: tuple[str, ...], run: Path | None, resume: bool, device: str | None, quiet: bool
) -> None:
    """Run the phases of MANIFEST.

    Ctrl-C and SIGTERM finish the step, save a checkpoint and end with 130 or 143.

    KEY=VALUE changes a value of the manifest, for example phases.align.lr=2e-4.
    """
    from modrwkv_core.manifest.load import load_manifest
    from modrwkv_core.manifest.wiring import check_wiring

    loaded = load_manifest(manifest, overrides)
    check_wiring(loaded)

    from modrwkv_core.model.device import choose_device
    from modrwkv_core.training.interrupts import TrainingInterruptedError
    from modrwkv_core.training.loop import train as run_phases

    run = run or Path("runs") / loaded.manifest.name
    try:
        run_phases(loaded, run, resume=resume, device=choose_device(device), progress_bar=not quiet)
    except TrainingInterruptedError as interruption:
        click.echo(str(interruption), err=True)
        click.get_current_context().exit(128 + interruption.signal)
    click.echo(f"trained: {run}")
    click.echo(f"next:    modrwkv evaluate {run}")
