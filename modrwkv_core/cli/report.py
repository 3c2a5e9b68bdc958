"""``modrwkv report``: write the report of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def report(run: Path) -> None:
    """Write report.html into the folder of RUN, whether it is training, killed or complete.

    The page shows training curves, phases, parts and their parameters, data, versions, and what the newest
    `modrwkv evaluate` found. It needs no other file.
    """
    from modrwkv_core.evaluation.run_report import write_run_report

    click.echo(f"report: {write_run_report(run)}")
