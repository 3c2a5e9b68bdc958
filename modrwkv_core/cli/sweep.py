"""``modrwkv sweep``: compare settings of a manifest."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the sweep; by default runs/<name of FILE>.")
@click.option("--resume", is_flag=True, help="Go on with the sweep that the folder holds.")
@click.option(
    "--device", "devices", multiple=True, metavar="NAME", help="Where runs train; if repeated, they take turns."
)
def sweep(file: Path, overrides: tuple[str, ...], folder: Path | None, resume: bool, devices: tuple[str, ...]) -> None:
    """Train a manifest with the settings that FILE lists, and compare the results.

    Every trial is an ordinary run in a folder of its own. A trial that fails is recorded with its error and does not
    stop the sweep. Ctrl-C and SIGTERM save checkpoints and end with 130 or 143; --resume goes on.

    Writes comparison.md, comparison.json, comparison.csv and report.html into the sweep's folder.

    KEY=VALUE changes a value of the manifest in all trials, for example phases.align.steps=100.
    """
    from modrwkv_core.experiments.config import load_sweep
    from modrwkv_core.experiments.report import write_sweep_report
    from modrwkv_core.experiments.runner import run_sweep
    from modrwkv_core.training.interrupts import TrainingInterruptedError

    loaded = load_sweep(file)
    folder = folder or Path("runs") / file.stem
    try:
        comparison = run_sweep(
            loaded,
            folder,
            arguments=overrides,
            devices=devices,
            resume=resume,
            tell=lambda line: click.echo(line, err=True),
        )
    except TrainingInterruptedError as interruption:
        click.echo(f"{interruption}\nhint: --resume goes on", err=True)
        click.get_current_context().exit(128 + interruption.signal)
    comparison.write(folder)
    report = write_sweep_report(comparison, folder)
    click.echo(comparison.markdown())
    click.echo(f"report: {report}")
