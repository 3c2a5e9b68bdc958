"""What a manifest may say about ``fusion`` and ``audio_fusion``, and the arithmetic of their lengths."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, StringConstraints, model_validator

from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.grids import Grid, grids_of, joined_length
from modrwkv_core.interfaces.sections import ComponentSection

__all__ = ["AudioFusionConfig", "FusionConfig", "ImageFusionConfig", "tower_grid"]

TowerName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class FusionConfig(EncoderConfig, ABC):
    """Several encoders on one signal, their features joined.

    The length of an item is the number of its features.
    """

    towers: Mapping[str, EncoderConfig]

    join: Literal["channels", "length"] = "channels"
    """``channels`` brings all towers to the grid or length of the reference and joins the features of each place;
    ``length`` lets the features of the towers follow each other."""

    reference: str | None = None
    """With ``join: channels``, the tower whose grid or length the others are brought to; by default the first."""

    align: Literal["grid", "sequence"] = "sequence"
    """How features are brought to others: as a grid, or as a sequence."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = ", ".join(self.towers)
        if len(self.towers) < 2:
            raise ValueError(f"fusion takes at least two towers, not {names or 'none'}")
        if self.reference is not None and self.reference not in self.towers:
            raise ValueError(f"reference {self.reference!r} is not one of the towers {names}")
        dims = {name: tower.out_dim for name, tower in self.towers.items()}
        if self.join == "length" and len(set(dims.values())) > 1:
            raise ValueError(
                "join: length needs features of one dimension, but "
                + ", ".join(f"{name} has {dim}" for name, dim in dims.items())
            )
        if self.join == "channels" and self.align == "grid":
            for name, tower in self.towers.items():
                if tower.typical_length is not None:
                    tower_grid(name, tower.out_length(tower.typical_length))
        return self

    def resolved(self) -> Self:
        """Return a copy whose towers need no outside files."""
        return self.model_copy(update={"towers": {name: tower.resolved() for name, tower in self.towers.items()}})

    @property
    def reference_tower(self) -> str:
        """Name of the tower whose grid or length the others are brought to."""
        return self.reference or next(iter(self.towers))

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        dims = [tower.out_dim for tower in self.towers.values()]
        return sum(dims) if self.join == "channels" else dims[0]

    @property
    def typical_length(self) -> int | None:
        """Number of features of an ordinary item; None if a tower does not say it."""
        lengths = {name: tower.typical_length for name, tower in self.towers.items()}
        known = {name: length for name, length in lengths.items() if length is not None}
        return self.joined_length(known) if len(known) == len(lengths) else None

    def out_length(self, length: int) -> int:
        """Number of features: the length of an item is that already."""
        return length

    def joined_length(self, lengths: Mapping[str, int]) -> int:
        """Number of features of a signal whose items have ``lengths``, by tower, in the towers' own units."""
        counts = {name: tower.out_length(lengths[name]) for name, tower in self.towers.items()}
        return counts[self.reference_tower] if self.join == "channels" else joined_length(counts.values())


class ImageFusionConfig(FusionConfig):
    """Several image encoders on one picture, their features joined.

    The length of an item is the number of its features.

    Source: several vision encoders for one language model: Li et al., VisualRWKV-HD and UHD, arXiv 2410.11665.
    """

    type: Literal["fusion"] = "fusion"

    towers: dict[TowerName, Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder", modality="image")]]
    """The encoders by names of your choice: any image encoders."""

    align: Literal["grid", "sequence"] = Field(default="grid")
    """How features are brought to others: as a grid, or as a sequence."""


class AudioFusionConfig(FusionConfig):
    """Several audio encoders on one recording, their features joined.

    The length of an item is the number of its features.
    """

    type: Literal["audio_fusion"] = "audio_fusion"

    towers: dict[TowerName, Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder", modality="audio")]]
    """The encoders by names of your choice: any audio encoders."""

    align: Literal["sequence"] = "sequence"
    """How features are brought to others: as a sequence."""


def tower_grid(name: str, features: int) -> Grid:
    """Return the grid of a tower's features.

    Raises:
        ValueError: They are not one grid.
    """
    grids = grids_of(features)
    if grids is None or len(grids) != 1:
        raise ValueError(f"the {features} features of {name} are not one grid; use align: sequence")
    return grids[0]
