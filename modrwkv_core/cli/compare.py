"""``modrwkv compare``: say which differences between evaluated runs are significant."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="Only this task; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def compare(runs: tuple[Path, ...], tasks: tuple[str, ...], as_json: bool) -> None:
    """Compare two or more runs that `modrwkv evaluate` has evaluated on the same samples.

    Each pair of runs is compared by each metric, by the paired bootstrap over samples. A difference is significant if
    its p-value, corrected for the number of pairs, is below 0.05.
    """
    from modrwkv_core.evaluation import comparison
    from modrwkv_core.registry import discover

    if len(runs) < 2:
        raise click.UsageError("name two runs or more")
    differences = comparison.compare([comparison.EvaluatedRun.read(run) for run in runs], discover(), tasks)
    show = comparison.differences_as_json if as_json else comparison.differences_table
    click.echo(show(differences))
