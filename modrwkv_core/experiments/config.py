"""A sweep's file: which settings of a manifest to try, how, and what decides."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from modrwkv_core.errors import ManifestError
from modrwkv_core.manifest.document import read_document
from modrwkv_core.manifest.layers import located_path
from modrwkv_core.manifest.problems import explain
from modrwkv_core.manifest.sections import Section

__all__ = ["LoadedSweep", "Parameter", "Sweep", "load_sweep"]

Direction: TypeAlias = Literal["minimize", "maximize"]


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a number, not {value!r}")
    return value


Number: TypeAlias = Annotated[Any, BeforeValidator(_number)]


class Parameter(Section):
    """The values of one setting: a list, or a range from ``low`` to ``high``, both included."""

    values: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """The values themselves, of any kind, mappings included; a bare list is short for it."""

    low: Number = None
    """The lowest value of a range. A range between two whole numbers holds whole numbers."""

    high: Number = None
    """The highest value of a range."""

    log: bool = False
    """Whether values are drawn evenly on a logarithmic scale."""

    step: Number = None
    """Distance between the values of a range; null: any value, or every whole number."""

    @model_validator(mode="before")
    @classmethod
    def _take_a_list_for_values(cls, value: Any) -> Any:
        return {"values": value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_list_or_range(self) -> Self:
        if self.values is not None:
            if self.model_fields_set > {"values"}:
                raise ValueError("give either `values` or a range with `low` and `high`")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give a list of values, or a range with `low` and `high`")
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, but {self.low} is not below {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a range with `log: true` begins above 0 and has no `step`")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"`step` must be positive, not {self.step}")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether a range holds whole numbers."""
        return all(isinstance(bound, int) for bound in (self.low, self.high, self.step or 1))


class Sweep(Section):
    """Settings of a manifest to compare."""

    manifest: str
    """The manifest, from the folder of this file."""

    parameters: dict[str, Parameter] = Field(min_length=1)
    """Values to try by dotted path, as overrides on the command line name them: ``phases.align.lr``. Several paths,
    separated by commas, get the same value."""

    method: Literal["grid", "random", "tpe"] = "grid"
    """``grid`` tries every combination, ``random`` draws, and ``tpe`` draws where earlier trials were good."""

    trials: int | None = Field(default=None, ge=1)
    """Number of combinations to draw; null for a grid."""

    parallel: int = Field(default=1, ge=1, le=1024)
    """Runs at the same time, each in a process of its own."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] | None = Field(default=None, min_length=1)
    """Seeds of the manifest with which every combination is trained; null: the manifest's own."""

    objective: str
    """What decides: ``<evaluation>/<metric>``, or a metric that training logs, such as ``valid/lm``."""

    direction: Direction | None = None
    """Whether a low or a high objective is good; null: as its metric says, and low for a loss."""

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the drawing of combinations."""

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        if self.method != "grid" and self.trials is None:
            raise ValueError(f"`method: {self.method}` needs a number of `trials`")
        if self.method == "grid":
            if self.trials is not None:
                raise ValueError("a grid tries every combination: drop `trials`, or choose `method: random`")
            for name, parameter in self.parameters.items():
                if parameter.values is None and not parameter.is_integer and parameter.step is None:
                    raise ValueError(f"a grid needs the values of {name}: give a list, or a range with `step`")
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is given twice")
        return self


@dataclass(frozen=True, slots=True)
class LoadedSweep:
    """A valid sweep and where it was written.

    Attributes:
        sweep: The sweep.
        path: Its file.
        manifest: The manifest's file.
        origins: Where each parameter was written, by dotted path, as ``file:line``.
    """

    sweep: Sweep
    path: Path
    manifest: Path
    origins: dict[str, str]

    def place(self, parameter: str) -> str:
        """Return the place of a parameter, for messages."""
        return f"{self.origins[parameter]}: parameters.{parameter}"


def load_sweep(path: Path) -> LoadedSweep:
    """Read a sweep's file.

    Raises:
        ManifestError: The file cannot be read or is not valid; the message begins with ``file:line``.
    """
    document = read_document(path)
    if not isinstance(document.content, dict):
        raise ManifestError(
            f"{document.origin}: a sweep is a mapping of keys to values",
            hint="it has the keys `manifest`, `parameters` and `objective`",
        )
    try:
        sweep = Sweep.model_validate(document.plain())
    except ValidationError as error:
        raise explain(error, {place: value.origin for place, value in document.walk()}) from error
    manifest = path.parent / located_path(document.content["manifest"], "manifest")
    if not manifest.is_file():
        raise ManifestError(
            f"{document.content['manifest'].origin}: manifest: there is no file {manifest}",
            hint="the path is resolved against the sweep's folder",
        )
    parameters: Iterable[tuple[str, Any]] = document.content["parameters"].content.items()
    return LoadedSweep(sweep, path, manifest, {name: value.origin for name, value in parameters})
