from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_image_augmentations.augmentations import (
    ColorJitter,
    RandAugment,
    RandomFlip,
    RandomResizedCrop,
    RandomShift,
)
from modrwkv_image_augmentations.config import (
    ColorJitterConfig,
    RandAugmentConfig,
    RandomFlipConfig,
    RandomResizedCropConfig,
    RandomShiftConfig,
)
from pydantic import ValidationError

from modrwkv_core.interfaces.signals import Image

SEEDS = st.integers(0, 2**32)
SIZES = st.integers(1, 40)


def noise(height: int, width: int) -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@given(height=SIZES, width=SIZES)
def test_flips_swap_sides(height: int, width: int) -> None:
    image = noise(height, width)
    rng = np.random.default_rng(0)
    assert (RandomFlip(RandomFlipConfig())(image, rng).pixels == np.fliplr(image.pixels)).all()
    assert (RandomFlip(RandomFlipConfig(direction="vertical"))(image, rng).pixels == np.flipud(image.pixels)).all()


def test_half_of_the_images_are_flipped_by_default() -> None:
    assert RandomFlipConfig().probability == 0.5


@given(seed=SEEDS, height=st.integers(4, 40), width=st.integers(4, 40), share=st.floats(0.01, 0.5))
def test_shifts_move_by_at_most_their_share(seed: int, height: int, width: int, share: float) -> None:
    ramp = np.stack([*np.mgrid[:height, :width], np.zeros((height, width))], axis=-1).astype(np.uint8)
    moved = RandomShift(RandomShiftConfig(max_share=share))(Image(ramp), np.random.default_rng(seed)).pixels
    for axis, size in ((0, height), (1, width)):
        line = moved[:, 0, 0].astype(int) if axis == 0 else moved[0, :, 1].astype(int)
        inside = (line > 0) & (line < size - 1)  # pixels before and after them continue the edges
        ways = set((line - np.arange(size))[inside].tolist())
        assert len(ways) <= 1
        assert all(abs(way) <= max(round(share * size), 1) for way in ways)


@given(seed=SEEDS, area=st.floats(0.05, 1.0), height=st.integers(8, 40), width=st.integers(8, 40))
def test_crops_are_parts_of_the_area_that_is_asked_for(seed: int, area: float, height: int, width: int) -> None:
    ramp = np.stack([*np.mgrid[:height, :width], np.zeros((height, width))], axis=-1).astype(np.uint8)
    crop = RandomResizedCrop(RandomResizedCropConfig(min_area=area, max_stretch=1.5))
    pixels = crop(Image(ramp), np.random.default_rng(seed)).pixels.astype(int)
    seen = [(channel.max() - channel.min() + 1) for channel in (pixels[..., 0], pixels[..., 1])]
    # Resizing and rounding blur the rectangle's edges by up to two pixels on each side.
    assert (seen[0] + 4) * (seen[1] + 4) >= area * height * width * 0.8


@given(seed=SEEDS, brightness=st.floats(0.05, 1.0))
def test_brightness_stays_in_its_range(seed: int, brightness: float) -> None:
    config = ColorJitterConfig(brightness=brightness, contrast=0.0, saturation=0.0)
    grey = Image(np.full((4, 4, 3), 100, np.uint8))
    changed = ColorJitter(config)(grey, np.random.default_rng(seed)).pixels
    assert changed.min() == changed.max()
    assert 100 * (1 - brightness) - 1 <= changed.max() <= 100 * (1 + brightness) + 1


@given(seed=SEEDS, height=SIZES, width=SIZES, operations=st.integers(1, 4), magnitude=st.integers(1, 30))
def test_rand_augment_takes_images_of_any_size(
    seed: int, height: int, width: int, operations: int, magnitude: int
) -> None:
    augment = RandAugment(RandAugmentConfig(operations=operations, magnitude=magnitude))
    pixels = augment(noise(height, width), np.random.default_rng(seed)).pixels
    assert (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8)


def test_a_jitter_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing is left to change"):
        ColorJitterConfig(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
