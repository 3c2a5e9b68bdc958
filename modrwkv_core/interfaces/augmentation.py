"""The Augmentation interfaces: random changes of training data that leave their meaning alone.

An augmentation works at one of four places, and inherits the class of that place:

- :class:`SignalAugmentation`: a decoded signal, in loader workers.
- :class:`SampleAugmentation`: a signal with what query heads should predict about it, or several such samples.
- :class:`ItemAugmentation`: the tensors that a processor made of a signal, in loader workers.
- :class:`FeatureAugmentation`: an encoder's features, on the device.

Signals and samples come first, then items, then features; within a place, augmentations follow each other as the
manifest lists them. They run in training only. The core draws from ``probability`` whether one applies, so an
implementation always changes what it is given.

All randomness comes from the generators that are given. Each is seeded by the run's seed, the phase, the epoch, the
sample's place in the epoch, and the signal's place in the sample: the same data come whatever the number of workers,
and after a resume. Never draw from a global generator; :func:`torch_seeded` wraps libraries that do.

N = media items in a batch, L = the longest of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from numpy.random import Generator

from modrwkv_core.interfaces.config import AugmentationConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.values import Features, MediaItem

__all__ = [
    "Augmentation",
    "FeatureAugmentation",
    "ItemAugmentation",
    "LabeledSignal",
    "Others",
    "SampleAugmentation",
    "SignalAugmentation",
    "torch_seeded",
]

SignalT = TypeVar("SignalT")
AugmentationConfigT = TypeVar("AugmentationConfigT", bound=AugmentationConfig)


@dataclass(frozen=True, slots=True)
class LabeledSignal(Generic[SignalT]):
    """A signal with the targets of query heads about it.

    Attributes:
        signal: What the modality decoded.
        targets: In the form in which the record gives them, in order; none if no query head is supervised.
    """

    signal: SignalT
    targets: tuple[Any, ...] = ()


Others: TypeAlias = Callable[[], LabeledSignal[Any] | None]
"""Draws another record of the same source and returns its first signal of the modality as it is, not augmented; None if
that record has none. What it draws is part of the sample's randomness."""


class Augmentation(ABC, Generic[AugmentationConfigT]):
    """Base of all augmentations; inherit one of those below.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: AugmentationConfigT) -> None:
        self.config = config


class SignalAugmentation(Augmentation[AugmentationConfigT], Generic[AugmentationConfigT, SignalT]):
    """Changes one signal; what is asked about it stays as it is. Picklable; runs on the CPU in loader workers."""

    @abstractmethod
    def __call__(self, signal: SignalT, rng: Generator) -> SignalT:
        """Return a changed copy of ``signal``.

        Args:
            signal: What the modality decoded; its arrays must not be changed.
            rng: The only source of randomness.

        Returns:
            A signal of the same class that the modality accepts. All that is no array, such as the rate of a waveform,
            must stay; the length may change.
        """


class SampleAugmentation(Augmentation[AugmentationConfigT], Generic[AugmentationConfigT, SignalT]):
    """Changes a signal and the targets of query heads together. Picklable; runs on the CPU in loader workers."""

    @abstractmethod
    def __call__(self, sample: LabeledSignal[SignalT], rng: Generator, others: Others) -> LabeledSignal[SignalT]:
        """Return a changed copy of ``sample``.

        Args:
            sample: The signal and its targets; neither must be changed in place.
            rng: The only source of randomness.
            others: Draws samples to mix with.

        Returns:
            A signal as :class:`SignalAugmentation` returns it, and as many targets as were given.

        Raises:
            DataError: A target does not have the form that the augmentation changes.
        """


class ItemAugmentation(Augmentation[AugmentationConfigT]):
    """Changes the tensors of one signal, as the processor made them. Picklable; runs on the CPU in loader workers."""

    @abstractmethod
    def __call__(self, item: MediaItem, rng: Generator) -> MediaItem:
        """Return a changed copy of ``item``.

        Args:
            item: What the encoder's processor made; its tensors must not be changed in place.
            rng: The only source of randomness.

        Returns:
            An item of the same length whose tensors have the same names, shapes and dtypes.

        Raises:
            ComponentError: The item does not have the tensors that the augmentation changes.
        """


class FeatureAugmentation(Augmentation[AugmentationConfigT]):
    """Changes an encoder's features of any modality, on the device. Text is never touched."""

    @abstractmethod
    def __call__(self, features: Features, rngs: Sequence[Generator]) -> Features:
        """Return changed features.

        An item's result must not depend on its neighbors in the batch.

        Args:
            features: ``values [N, L, dim]``, not to be changed in place.
            rngs: One generator for each of the N items, on the host.

        Returns:
            Features of the same shape, dtype, device and lengths. Gradients must flow through them.
        """


@contextmanager
def torch_seeded(rng: Generator) -> Iterator[None]:
    """Let what is inside draw from torch's CPU generator as ``rng`` decides, and restore that generator after it.

    Libraries such as torchvision know no other generator. Those of GPUs are neither seeded nor restored.
    """
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        generator.set_state(state)
