"""Which prompts are measured: three curves through the space of contexts, pictures and batch sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["AXES", "Axis", "Cell", "Grid"]

Axis: TypeAlias = Literal["context", "pictures", "batch size"]

AXES: Final[tuple[Axis, ...]] = ("context", "pictures", "batch size")


@dataclass(frozen=True, slots=True)
class Cell:
    """A batch of prompts.

    Attributes:
        context: Tokens of each prompt, its pictures included.
        pictures: Pictures of each prompt.
        batch_size: Prompts.
    """

    context: int
    pictures: int
    batch_size: int

    def on(self, axis: Axis) -> int:
        """Return where the cell lies on an axis."""
        return {"context": self.context, "pictures": self.pictures, "batch size": self.batch_size}[axis]

    def __str__(self) -> str:
        pictures = "picture" if self.pictures == 1 else "pictures"
        return f"{self.context:,} tokens, {self.pictures} {pictures}, batch size {self.batch_size}"


@dataclass(frozen=True, slots=True)
class Grid:
    """The values of each axis, at least one.

    Attributes:
        contexts: Tokens of a prompt.
        pictures: Pictures of a prompt.
        batch_sizes: Prompts.
    """

    contexts: tuple[int, ...]
    pictures: tuple[int, ...]
    batch_sizes: tuple[int, ...]

    def curves(self, picture_tokens: int) -> dict[Axis, tuple[Cell, ...]]:
        """Return the cells of each curve, rising: one axis varies, the others keep their smallest values.

        The number of pictures varies in the shortest context that holds the most of them, or in the longest one.

        Args:
            picture_tokens: Tokens of a picture, with its markers.
        """
        contexts, pictures, batch_sizes = (
            sorted(set(values)) for values in (self.contexts, self.pictures, self.batch_sizes)
        )
        roomy = [context for context in contexts if context > pictures[-1] * picture_tokens]
        wide = roomy[0] if roomy else contexts[-1]
        return {
            "context": tuple(Cell(context, pictures[0], batch_sizes[0]) for context in contexts),
            "pictures": tuple(Cell(wide, count, batch_sizes[0]) for count in pictures),
            "batch size": tuple(Cell(contexts[0], pictures[0], size) for size in batch_sizes),
        }
