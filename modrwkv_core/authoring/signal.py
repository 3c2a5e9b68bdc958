"""Finds out what the signals of an installed modality are, for an encoder that is to read them."""

from __future__ import annotations

from dataclasses import dataclass

from modrwkv_core.errors import PluginError
from modrwkv_core.registry import Registry
from modrwkv_core.registry.settings import CORE

__all__ = ["SignalClass", "signal_class"]


@dataclass(frozen=True, slots=True)
class SignalClass:
    """The class of a modality's signals.

    Attributes:
        module: Where it is imported from.
        name: Its name there.
        field: The field that holds the data, an array.
        distribution: Who must be installed for it; None if that is the core or the new distribution itself.
    """

    module: str
    name: str
    field: str
    distribution: str | None


def signal_class(modality: str, registry: Registry) -> SignalClass:
    """Look at the example signals of ``modality``.

    Raises:
        PluginError: The modality cannot be used, or has no examples with an array.
    """
    from modrwkv_core.testing.signals import data_field  # takes seconds, for it imports torch

    entry = registry.modality(modality)
    examples = registry.modality_class(modality)().examples()
    field = data_field(examples[0]) if examples else None
    if field is None:
        raise PluginError(
            f"the modality {modality!r} has no examples() with an array to write and test an encoder for",
            distribution=entry.distribution,
            hint="ask its authors for examples(), or begin with `--modality series` and change the signal's class",
        )
    found = type(examples[0])
    distribution = None if entry.distribution == CORE else entry.distribution
    return SignalClass(found.__module__, found.__name__, field, distribution)
