"""``modrwkv forecast``: continue a series."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modrwkv_core.cli.options import checkpoint_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from modrwkv_core.interfaces.forecast import Forecast


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--series", required=True, type=click.Path(path_type=Path), metavar="FILE", help="CSV or NPY file.")
@click.option("--horizon", required=True, type=click.IntRange(min=1), help="Points to forecast.")
@click.option("--column", "columns", multiple=True, help="Column to forecast; may be repeated. By default all.")
@click.option("--time-column", help="Column of dates, times or numbers; by default found by heading and content.")
@click.option("--separator", help="Character between columns, or `tab`; by default found.")
@click.option("--decimal", type=click.Choice([".", ","]), help="Decimal mark; by default found.")
@click.option("--head", metavar="NAME", help="The head that forecasts, where the model has several that can.")
@checkpoint_option
@click.option("--device", help="Where to compute; by default a GPU if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of CSV lines.")
def forecast(
    run: Path,
    series: Path,
    horizon: int,
    columns: tuple[str, ...],
    time_column: str | None,
    separator: str | None,
    decimal: str | None,
    head: str | None,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Continue the series in FILE by HORIZON points, in its own units.

    A head of one channel continues every column by itself. The output goes on where the file ends, with the next dates
    if the file has dates at equal steps. Below a heading it holds several columns or dates; one column without dates is
    plain numbers.

    The quantiles that a head gives stand in columns of their own beside each column: NAME_q0.1, NAME_q0.9, and so on.
    """
    from modrwkv_core.inference.loading import load
    from modrwkv_core.readers.table import TableOptions
    from modrwkv_core.readers.tables import read_table

    options = TableOptions(columns or None, time_column, separator, decimal)
    if series.suffix.lower() == ".npy" and options != TableOptions():
        raise click.UsageError(f"{series} is a NumPy file: options of tables do not apply to it")
    table = read_table(series, options) if series.suffix.lower() != ".npy" else None
    predicted = load(run, checkpoint=checkpoint, device=device).forecast(
        series if table is None else table.values, horizon, head
    )
    names = table.names if table is not None and table.headed else None
    clock = table.clock if table is not None else None
    dates = clock.after(horizon) if clock is not None else None
    if as_json:
        known = {key: value for key, value in (("columns", names), ("dates", dates)) if value is not None}
        quantiles = {str(level): _numbers(values) for level, values in predicted.quantiles.items()}
        found = {"forecast": _numbers(predicted.points)} | ({"quantiles": quantiles} if quantiles else {})
        click.echo(json.dumps({"horizon": horizon, **known, **found}))
        return
    names, rows = forecast_rows(predicted, names)
    if clock is not None and dates is not None:
        names = None if names is None else (clock.name, *names)
        rows = [[date, *row] for date, row in zip(dates, rows, strict=True)]
    if names is not None and len(names) > 1:
        rows.insert(0, list(names))
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)


def forecast_rows(
    predicted: Forecast, names: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...] | None, list[list[str]]]:
    """Return the names of columns, and a row of decimals for each point.

    Args:
        predicted: The forecast.
        names: Of its columns. Where it has quantiles, their columns are named after these, or after numbers.
    """
    import numpy as np

    if predicted.quantiles:
        read = names or [f"column{number}" for number in range(1, predicted.points.shape[1] + 1)]
        suffixes = ["", *(f"_q{level:g}" for level in predicted.quantiles)]
        names = tuple(name + suffix for name in read for suffix in suffixes)
    stacked_HCQ = np.stack([predicted.points, *predicted.quantiles.values()], axis=-1)
    flat_HX = stacked_HCQ.reshape(len(stacked_HCQ), -1)
    return names, [[f"{number:.9g}" for number in point] for point in _numbers(flat_HX)]


def _numbers(values: NDArray[np.float32]) -> list[list[float]]:
    """Return the shortest decimals that are the same float32."""
    return [[float(str(value)) for value in point] for point in values]
