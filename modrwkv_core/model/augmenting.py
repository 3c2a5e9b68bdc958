"""Augmentations of a manifest, and those of features on the device.

N = media items, L = the longest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from modrwkv_core.data.augmenting import SignalAugmenter, applies
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.augmentation import (
    Augmentation,
    FeatureAugmentation,
    ItemAugmentation,
    SampleAugmentation,
    SignalAugmentation,
)
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.values import Features
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.build import build
from modrwkv_core.model.embedder import MediaEmbedder
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["FeatureAugmenter", "add_augmentations"]


class FeatureAugmenter:
    """Augments the features of one modality on the device.

    Args:
        augmentations: In order.
    """

    def __init__(self, augmentations: Sequence[FeatureAugmentation[Any]]) -> None:
        self._augmentations = tuple(augmentations)

    def __call__(self, features: Features, seeds: Sequence[int | None], look: bool) -> Features:
        """Change the features of the items that have a seed.

        Args:
            features: ``values [N, L, dim]``.
            seeds: One for each of the N items; None leaves the item as it is.
            look: Whether to look if values are finite, which waits for the device.

        Raises:
            PluginError: An augmentation failed.
            ComponentError: One returned features of another form, or NaN or infinity.
        """
        for index, augmentation in enumerate(self._augmentations):
            rngs = [np.random.default_rng([0 if seed is None else seed, index]) for seed in seeds]
            chosen = [applies(augmentation, rng) and seed is not None for rng, seed in zip(rngs, seeds, strict=True)]
            if not any(chosen):
                continue
            with guard(augmentation.origin, "the augmentation"):
                changed = augmentation(features, rngs)
            if (complaint := _complaint(features, changed, look)) is not None:
                origin = augmentation.origin
                raise ComponentError(
                    complaint,
                    component=origin.component if origin else f"augmentation/{augmentation.config.type}",
                    distribution=origin.distribution if origin else None,
                    hint="`modrwkv plugins check` tests the component against the whole contract",
                )
            values = changed.values
            if not all(chosen):
                chosen_N = torch.tensor(chosen, device=values.device)
                values = torch.where(chosen_N[:, None, None], values, features.values)
            features = features.with_values(values)
        return features


def add_augmentations(loaded: LoadedManifest, model: MultimodalModel) -> dict[str, SignalAugmenter]:
    """Build the augmentations of a manifest for training.

    Args:
        loaded: The manifest.
        model: Its embedders get the augmentations of features.

    Returns:
        By modality, what augments signals in loader workers.

    Raises:
        PluginError: An augmentation cannot be imported, or its constructor failed.
        ComponentError: One derives from none of the interfaces.
    """
    augmenters = {}
    for name, section in loaded.manifest.modalities.items():
        built: list[Augmentation[Any]] = [
            build(loaded.registry, "augmentation", config.type, config) for config in section.augmentations
        ]
        for augmentation in built:
            _check_interface(augmentation)
        of_features = [augmentation for augmentation in built if isinstance(augmentation, FeatureAugmentation)]
        embedder = model.embedders[name]
        assert isinstance(embedder, MediaEmbedder)
        embedder.augmenter = FeatureAugmenter(of_features) if of_features else None
        augmenters[name] = SignalAugmenter(built, model.preprocessors[name].decode)
    return augmenters


def _check_interface(augmentation: Augmentation[Any]) -> None:
    interfaces = SignalAugmentation, SampleAugmentation, ItemAugmentation, FeatureAugmentation
    if not isinstance(augmentation, interfaces):
        origin = augmentation.origin
        raise ComponentError(
            f"{type(augmentation).__name__} does not say what it changes",
            component=origin.component if origin else None,
            distribution=origin.distribution if origin else None,
            hint=f"derive it from {', '.join(interface.__name__ for interface in interfaces[:-1])} or "
            f"{interfaces[-1].__name__}",
        )


def _complaint(given: Features, changed: object, look: bool) -> str | None:
    if not isinstance(changed, Features):
        return f"it returned {type(changed).__name__}, it must return Features"
    before, after = given.values, changed.values
    if (after.shape, after.dtype, after.device) != (before.shape, before.dtype, before.device):
        return (
            f"it made features {list(after.shape)} in {after.dtype} on {after.device} of features "
            f"{list(before.shape)} in {before.dtype} on {before.device}"
        )
    if not torch.equal(changed.lengths, given.lengths):
        return f"it made lengths {changed.lengths.tolist()} of {given.lengths.tolist()}"
    if look and not bool(torch.isfinite(changed.packed()).all()):
        return "it returned features that are not finite: they hold NaN or infinity"
    return None
