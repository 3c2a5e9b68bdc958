"""The contract of augmentations."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from modrwkv_core.data.augmenting import SignalAugmenter
from modrwkv_core.interfaces.augmentation import (
    Augmentation,
    FeatureAugmentation,
    ItemAugmentation,
    LabeledSignal,
    SampleAugmentation,
    SignalAugmentation,
)
from modrwkv_core.interfaces.config import AugmentationConfig
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.testing.registration import ComponentContract, installed, load

__all__ = ["AugmentationContract"]

DRAWS: Final = 24
"""Seeds that each augmentation is tried with."""


class AugmentationContract(ComponentContract):
    """An augmentation; a subclass sets ``plugin``, ``name`` and ``configs``, and may say what to try it on."""

    kind: ClassVar = "augmentation"
    config_base: ClassVar = AugmentationConfig
    interface: ClassVar = Augmentation

    def signals(self, config: Any) -> Sequence[Any]:
        """Return signals to change; by default the example signals of the modality."""
        return self.modality().examples()

    def samples(self, config: Any) -> Sequence[LabeledSignal[Any]]:
        """Return signals with targets; by default :meth:`signals`, without any target."""
        return [LabeledSignal(signal) for signal in self.signals(config)]

    def items(self, config: Any) -> Sequence[MediaItem]:
        """Return media items to change, as the encoders that it is for get them."""
        raise NotImplementedError("return a few MediaItem objects with the tensors that the augmentation changes")

    def features(self, config: Any) -> Features:
        """Return features to change; by default those of items of 1, 9, 30 and 64 vectors, 24 wide."""
        lengths = torch.tensor([1, 9, 30, 64])
        values = torch.randn(4, 64, 24, generator=torch.Generator().manual_seed(0))
        return Features(values, lengths).with_values(values)

    def modality(self) -> Modality[Any]:
        """Construct the modality of the record."""
        assert self.spec.modality is not None, "name the `modality` of signals and items in the ComponentSpec"
        modality: Modality[Any] = installed().modality_class(self.spec.modality)()
        return modality

    def augmentation(self, settings: Mapping[str, Any]) -> Augmentation[Any]:
        """Build it; it always applies."""
        config = self.config(settings).model_copy(update={"probability": 1.0})
        augmentation: Augmentation[Any] = load(self.spec.implementation)(config)
        return augmentation

    def test_interface_says_what_it_changes(self, settings: Mapping[str, Any]) -> None:
        """It derives from one interface, and its record names a modality unless it changes features.

        Remedy: derive it from ``SignalAugmentation``, ``SampleAugmentation``, ``ItemAugmentation`` or
        ``FeatureAugmentation``, and name the ``modality`` of the first three in the ``ComponentSpec``.
        """
        augmentation = self.augmentation(settings)
        interfaces = (SignalAugmentation, SampleAugmentation, ItemAugmentation, FeatureAugmentation)
        fitting = [interface.__name__ for interface in interfaces if isinstance(augmentation, interface)]
        assert len(fitting) == 1, f"{self.name} derives from {', '.join(fitting) or 'none'} of the interfaces"
        if not isinstance(augmentation, FeatureAugmentation):
            assert self.spec.modality, f"{self.name} names no modality"

    def test_results_are_usable_and_inputs_stay(self, settings: Mapping[str, Any]) -> None:
        """Whatever is drawn, the result passes the core's checks, and what was given is unchanged.

        Remedy: return a new object of the same class that the modality accepts, with finite values, and change no
        array or tensor in place.
        """
        augmentation = self.augmentation(settings)
        for case in self._cases(augmentation):
            before = _content(case)
            for seed in range(DRAWS):
                self._apply(augmentation, case, seed)
                assert _content(case) == before, f"{self.name} changes what it is given in place"

    def test_generator_decides_alone(self, settings: Mapping[str, Any]) -> None:
        """The result depends on the generator and on nothing else, also in a worker's copy; global generators stay.

        Remedy: draw from ``rng`` only; wrap libraries that draw from torch's generator in ``torch_seeded(rng)``.
        """
        augmentation = self.augmentation(settings)
        copy = pickle.loads(pickle.dumps(augmentation))
        for case in self._cases(augmentation):
            for seed in range(4):
                first = _content(self._apply(augmentation, case, seed))
                _move_global_generators(seed)
                states = _global_states()
                second = _content(self._apply(copy, case, seed))
                assert second == first, f"{self.name} gives something else for the same generator"
                assert _global_states() == states, f"{self.name} draws from a global generator"

    def test_something_changes_and_differs(self, settings: Mapping[str, Any]) -> None:
        """Generators of different seeds give different results.

        Remedy: draw from ``rng``; leave it to ``probability`` how often the augmentation applies.
        """
        augmentation = self.augmentation(settings)
        cases = self._cases(augmentation)
        assert cases, f"{type(self).__name__} gives nothing to change"
        for case in cases:
            results = {_content(self._apply(augmentation, case, seed)) for seed in range(DRAWS)}
            if results - {_content(case)}:
                return
        raise AssertionError(f"{self.name} changes nothing with {DRAWS} generators")

    def test_items_of_a_batch_do_not_touch_each_other(self, settings: Mapping[str, Any]) -> None:
        """Features of an item are the same alone and in a batch, padding stays zero, and gradients flow.

        Remedy: draw for each item from its own generator, as many numbers as the item needs, whatever the padding.
        """
        augmentation = self.augmentation(settings)
        if not isinstance(augmentation, FeatureAugmentation):
            return
        features = self.features(augmentation.config)
        values = features.values.clone().requires_grad_()
        together = augmentation(Features(values, features.lengths), _generators(len(values), 0))
        together.values.sum().backward()  # type: ignore[no-untyped-call]
        assert values.grad is not None
        assert values.grad.any(), f"no gradient flows through {self.name}"
        together = together.with_values(together.values.detach())
        for index, length in enumerate(features.lengths.tolist()):
            alone = Features(features.values[index : index + 1, :length], features.lengths[index : index + 1])
            result = augmentation(alone, _generators(len(values), 0)[index : index + 1])
            assert torch.equal(result.values[0], together.values[index, :length]), (
                f"{self.name} gives an item of {length} vectors something else in a batch than alone"
            )

    def _cases(self, augmentation: Augmentation[Any]) -> Sequence[Any]:
        config = augmentation.config
        match augmentation:
            case SignalAugmentation():
                return [LabeledSignal(signal) for signal in self.signals(config)]
            case SampleAugmentation():
                return self.samples(config)
            case ItemAugmentation():
                return self.items(config)
            case _:
                return [self.features(config)]

    def _apply(self, augmentation: Augmentation[Any], case: Any, seed: int) -> Any:
        """Augment as the core does."""
        if isinstance(augmentation, FeatureAugmentation):
            changed = augmentation(case, _generators(len(case.values), seed))
            assert isinstance(changed, Features), f"{self.name} returns {type(changed).__name__}, not Features"
            assert changed.values.shape == case.values.shape, f"{self.name} changes the shape of features"
            assert changed.values.dtype == case.values.dtype, f"{self.name} changes the dtype of features"
            assert torch.equal(changed.lengths, case.lengths), f"{self.name} changes the lengths of features"
            assert bool(torch.isfinite(changed.packed()).all()), f"{self.name} gives features that are not finite"
            assert not changed.values[~case.mask()].any(), f"{self.name} writes into padding"
            return changed
        augmenter = SignalAugmenter([augmentation], self.modality().decode)
        rng = np.random.default_rng(seed)
        if isinstance(augmentation, ItemAugmentation):
            return augmenter.augment_item(case, rng)
        return augmenter.augment(case, rng, self._others(augmentation, rng))

    def _others(self, augmentation: Augmentation[Any], rng: Generator) -> Callable[[], LabeledSignal[Any] | None]:
        samples = list(self.samples(augmentation.config))

        def other() -> LabeledSignal[Any] | None:
            index = int(rng.integers(len(samples) + 1))
            return samples[index] if index < len(samples) else None

        return other


def _generators(count: int, seed: int) -> list[Generator]:
    return [np.random.default_rng([seed, index]) for index in range(count)]


def _content(value: Any) -> Any:
    """Return something comparable that holds all of ``value``, bit by bit."""
    if isinstance(value, Tensor):
        return _content(value.detach().numpy())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return tuple(_content(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return tuple((key, _content(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_content, value))
    return value


def _global_states() -> Any:
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), (kind, np.asarray(keys).tobytes(), *rest)


def _move_global_generators(seed: int) -> None:
    torch.rand(seed + 1)
    random.random()
    np.random.random()
