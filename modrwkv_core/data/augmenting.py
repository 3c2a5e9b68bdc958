"""Augmentation of signals and media items in loader workers, and the check of what augmentations return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.random import Generator

from modrwkv_core.errors import ComponentError, DataError
from modrwkv_core.interfaces.augmentation import (
    Augmentation,
    ItemAugmentation,
    LabeledSignal,
    Others,
    SampleAugmentation,
    SignalAugmentation,
)
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["Draw", "SignalAugmenter", "applies"]


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample's part in the randomness of a training run.

    Attributes:
        seed: Of the sample, from 0 to 2^63 - 1.
        source: Where its record comes from; mixing augmentations draw others from there.
    """

    seed: int
    source: Source[Any]

    def generator(self, medium: int) -> Generator:
        """Return the generator of one of the sample's media, counted from 0."""
        return np.random.default_rng([self.seed, medium])


def applies(augmentation: Augmentation[Any], rng: Generator) -> bool:
    """Draw whether an augmentation applies."""
    probability: float = augmentation.config.probability
    return bool(rng.random() < probability)


class SignalAugmenter:
    """Augments signals and media items of one modality. Picklable, for loader workers.

    Args:
        augmentations: In order; those of features are not among them.
        decode: The modality's ``decode``: it passes a good signal and refuses a broken one.
    """

    def __init__(self, augmentations: Sequence[Augmentation[Any]], decode: Callable[[Any], Any]) -> None:
        self._of_signals = [each for each in augmentations if isinstance(each, SignalAugmentation | SampleAugmentation)]
        self._of_items = [each for each in augmentations if isinstance(each, ItemAugmentation)]
        self._decode = decode

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes signals or items."""
        return not self._of_signals and not self._of_items

    def augment(self, sample: LabeledSignal[Any], rng: Generator, others: Others) -> LabeledSignal[Any]:
        """Change a signal and its targets.

        Raises:
            PluginError: An augmentation failed.
            ComponentError: One returned something else than a usable signal.
            DataError: One cannot change the record's targets.
        """
        for augmentation in self._of_signals:
            if not applies(augmentation, rng):
                continue
            with guard(augmentation.origin, "the augmentation"):
                if isinstance(augmentation, SignalAugmentation):
                    changed = LabeledSignal(augmentation(sample.signal, rng), sample.targets)
                else:
                    changed = augmentation(sample, rng, others)
            self._check(augmentation, sample, changed)
            sample = changed
        return sample

    def augment_item(self, item: MediaItem, rng: Generator) -> MediaItem:
        """Change the tensors that a processor made.

        Raises:
            PluginError: An augmentation failed.
            ComponentError: One returned an item of another form, or cannot change this one.
        """
        for augmentation in self._of_items:
            if not applies(augmentation, rng):
                continue
            with guard(augmentation.origin, "the augmentation"):
                changed = augmentation(item, rng)
            if not isinstance(changed, MediaItem) or _form(changed) != _form(item):
                _refuse(augmentation, f"it made {_described(changed)} of {_described(item)}")
            item = changed
        return item

    def _check(self, augmentation: Augmentation[Any], before: LabeledSignal[Any], after: object) -> None:
        if not isinstance(after, LabeledSignal):
            _refuse(augmentation, f"it returned {type(after).__name__}, not a LabeledSignal")
        if not isinstance(after.signal, type(before.signal)):
            _refuse(augmentation, f"it made a {type(after.signal).__name__} of a {type(before.signal).__name__}")
        if len(after.targets) != len(before.targets):
            _refuse(augmentation, f"it made {len(after.targets)} targets of {len(before.targets)}")
        if (changed := _scalars(after.signal)) != (given := _scalars(before.signal)):
            _refuse(augmentation, f"it changed {given} of the signal to {changed}")
        try:
            self._decode(after.signal)
        except DataError as error:
            _refuse(augmentation, f"it returned a signal that cannot be used: {error.message}")


def _scalars(signal: Any) -> dict[str, Any]:
    """Return the fields of a signal that are no arrays, such as a rate."""
    if not is_dataclass(signal):
        return {}
    values = {field.name: getattr(signal, field.name) for field in fields(signal)}
    return {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}


def _form(item: MediaItem) -> dict[str, Any]:
    tensors = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in item.tensors.items()}
    return {"length": item.length, **tensors}


def _described(item: object) -> str:
    if not isinstance(item, MediaItem):
        return f"a {type(item).__name__}"
    tensors = [f"{name} {list(tensor.shape)} {tensor.dtype}" for name, tensor in item.tensors.items()]
    return f"an item of length {item.length} with {', '.join(tensors)}"


def _refuse(augmentation: Augmentation[Any], message: str) -> NoReturn:
    origin = augmentation.origin
    raise ComponentError(
        message,
        component=origin.component if origin else f"augmentation/{augmentation.config.type}",
        distribution=origin.distribution if origin else None,
        hint="`modrwkv plugins check` tests the component against the whole contract",
    )
