"""Finds out what the signals of an installed modality are, for an encoder that is to read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args, get_origin

from modrwkv_core.errors import PluginError
from modrwkv_core.interfaces.guard import CORE
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.registry import Registry

__all__ = ["SignalClass", "signal_class"]


@dataclass(frozen=True, slots=True)
class SignalClass:
    """The class of a modality's signals.

    Attributes:
        module: Where it is imported from.
        name: Its name there.
        field: The field that holds the data, an array.
        shortest: Steps of its shortest example.
        distribution: Who must be installed for it; None if that is the core or the new distribution itself.
    """

    module: str
    name: str
    field: str
    shortest: int
    distribution: str | None


def signal_class(modality: str, registry: Registry) -> SignalClass:
    """Look at the example signals of ``modality``.

    Raises:
        PluginError: The modality cannot be used, or its signals are not of one class that holds an array.
    """
    from modrwkv_core.testing.signals import data_field  # takes seconds, for it imports torch

    entry = registry.modality(modality)
    found = registry.modality_class(modality)
    examples = found().examples()
    fields = {data_field(example) for example in examples if type(example) is _declared(found)}
    field = fields.pop() if fields else None
    if field is None:
        raise PluginError(
            f"the signals of the modality {modality!r} are not examples() of one class that holds an array: "
            "no encoder can be written and tested for them",
            distribution=entry.distribution,
            hint="begin with another --modality and change what the processor reads",
        )
    signal = type(examples[0])
    return SignalClass(
        module=signal.__module__,
        name=signal.__name__,
        field=field,
        shortest=min(len(getattr(example, field)) for example in examples),
        distribution=None if entry.distribution == CORE else entry.distribution,
    )


def _declared(modality: type[Modality[Any]]) -> type[Any] | None:
    """Return the class of signals that ``modality`` says to decode to: S of ``Modality[S]``."""
    bases = [base for parent in modality.__mro__ for base in vars(parent).get("__orig_bases__", ())]
    return next((get_args(base)[0] for base in bases if get_origin(base) is Modality), None)
