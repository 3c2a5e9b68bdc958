"""Refusing values that are NaN or infinite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError

__all__ = ["check_finite"]


def check_finite(
    values: NDArray[Any], beginning: str, axes: tuple[str, str], *, hint: str, component: str | None = None
) -> None:
    """Refuse values of which one is NaN or infinite, and say where the first of them is.

    Args:
        values: ``[rows, columns]``.
        beginning: Of the message: ``the series holds``.
        axes: What a row and a column are called: ``("point", "channel")``.
        hint: What to do next.
        component: Who refuses: ``encoder/wavenet``.

    Raises:
        DataError: A value is NaN or infinite.
    """
    is_finite = np.isfinite(values)
    if not is_finite.all():
        row, column = np.argwhere(~is_finite)[0]
        raise DataError(
            f"{beginning} {values[row, column]} at {axes[0]} {row} of {axes[1]} {column}",
            component=component,
            hint=hint,
        )
