"""``modrwkv forecast``: continue a series."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--series", required=True, type=click.Path(path_type=Path), metavar="FILE", help="CSV or NPY file.")
@click.option("--horizon", required=True, type=click.IntRange(min=1), help="Points to forecast.")
@click.option("--device", help="Where to compute; by default a GPU if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of CSV lines.")
def forecast(run: Path, series: Path, horizon: int, device: str | None, as_json: bool) -> None:
    """Continue the series in FILE by HORIZON points, in its own units; every column by itself."""
    from modrwkv_core.inference.session import load

    values = load(run, device=device).forecast(series, horizon)
    if as_json:
        click.echo(json.dumps({"horizon": horizon, "forecast": values.tolist()}))
        return
    for point in values:
        click.echo(",".join(f"{value:.6g}" for value in point))
