"""Registers the augmentations; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the augmentations of images."""
    return [
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="random_flip",
            summary="an image mirrored",
            config="modrwkv_image_augmentations.config:RandomFlipConfig",
            implementation="modrwkv_image_augmentations.augmentations:RandomFlip",
            modality="image",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="random_resized_crop",
            summary="a random rectangle of an image, resized to its size",
            config="modrwkv_image_augmentations.config:RandomResizedCropConfig",
            implementation="modrwkv_image_augmentations.augmentations:RandomResizedCrop",
            modality="image",
            paper="Going Deeper with Convolutions, arXiv 1409.4842",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="random_shift",
            summary="an image moved by a few pixels, its edges continued",
            config="modrwkv_image_augmentations.config:RandomShiftConfig",
            implementation="modrwkv_image_augmentations.augmentations:RandomShift",
            modality="image",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="color_jitter",
            summary="random brightness, contrast, saturation and hue",
            config="modrwkv_image_augmentations.config:ColorJitterConfig",
            implementation="modrwkv_image_augmentations.augmentations:ColorJitter",
            modality="image",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="rand_augment",
            summary="a few operations drawn from rotation, shear, shift, colors and others",
            config="modrwkv_image_augmentations.config:RandAugmentConfig",
            implementation="modrwkv_image_augmentations.augmentations:RandAugment",
            modality="image",
            paper="RandAugment, arXiv 1909.13719",
        ),
    ]
