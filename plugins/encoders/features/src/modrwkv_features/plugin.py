"""Registers the encoder and the augmentations; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``features`` and the augmentations of feature frames."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="features",
            summary="ready-made feature arrays, by a linear map or strided convolutions, from scratch",
            config="modrwkv_features.config:FeaturesConfig",
            implementation="modrwkv_features.encoder:FeaturesEncoder",
            processor="modrwkv_features.processor:FeaturesProcessor",
            modality="features",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="time_stretch",
            summary="feature frames in a faster or slower time",
            config="modrwkv_features.config:TimeStretchConfig",
            implementation="modrwkv_features.augmentations:TimeStretch",
            modality="features",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="time_mask",
            summary="stretches of feature frames masked",
            config="modrwkv_features.config:TimeMaskConfig",
            implementation="modrwkv_features.augmentations:TimeMask",
            modality="features",
            paper="SpecAugment, arXiv 1904.08779",
        ),
    ]
