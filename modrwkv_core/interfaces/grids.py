"""Lengths that know the rows and columns of their features. This module never imports torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self

__all__ = ["Grid", "GridLength", "grids_of", "joined_length"]


class Grid(NamedTuple):
    """Rows and columns of feature vectors that follow each other row by row.

    Attributes:
        rows: From the top.
        columns: From the left.
    """

    rows: int
    columns: int


class GridLength(int):
    """A length whose vectors form grids: one grid, or several that follow each other.

    It is an ``int`` wherever a length is wanted. Arithmetic gives plain numbers, which have no grid: 576 patches and a
    class token are 577 vectors without rows and columns.

    Attributes:
        grids: In the order of the vectors.
    """

    grids: tuple[Grid, ...]

    def __new__(cls, *grids: tuple[int, int]) -> Self:
        """Add up the sizes of ``grids``: rows and columns of each."""
        length = super().__new__(cls, sum(rows * columns for rows, columns in grids))
        length.grids = tuple(Grid(*grid) for grid in grids)
        return length

    def __getnewargs__(self) -> tuple[Grid, ...]:  # type: ignore[override]  # an int's are its value
        """Return what a copy is made of."""
        return self.grids


def grids_of(length: int) -> tuple[Grid, ...] | None:
    """Return the grids of a length; None if it has none."""
    return length.grids if isinstance(length, GridLength) else None


def joined_length(lengths: Iterable[int]) -> int:
    """Return the length of vectors that follow each other; it has grids if all of ``lengths`` do."""
    lengths = list(lengths)
    known = [length.grids for length in lengths if isinstance(length, GridLength)]
    return GridLength(*(grid for grids in known for grid in grids)) if len(known) == len(lengths) else sum(lengths)
