"""SpecAugment on the spectrograms that processors make."""

from __future__ import annotations

import torch
from numpy.random import Generator

from modrwkv_audio_augmentations.config import SpecAugmentConfig
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.augmentation import ItemAugmentation
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["SpecAugment"]


class SpecAugment(ItemAugmentation[SpecAugmentConfig]):
    """Masks frames and mel bins."""

    def __call__(self, item: MediaItem, rng: Generator) -> MediaItem:
        """Return the item with ``mel [mel bins, frames]`` masked.

        The last frame stays, for encoders may let it stand for the silence after it.

        Raises:
            ComponentError: The encoder's processor makes no ``mel``.
        """
        mel = item.tensors.get("mel")
        if mel is None or mel.ndim != 2:
            raise ComponentError(
                f"the encoder's items hold {', '.join(item.tensors)}, no spectrogram `mel`",
                component="augmentation/spec_augment",
                hint="use `feature_mask` with this encoder",
            )
        config = self.config
        bins, frames = mel.shape[0], mel.shape[1] - 1
        if not frames:
            return item
        longest = min(config.time_width, int(config.max_time_share * frames))
        widest = min(config.frequency_width, bins)
        # In NumPy: torchaudio's mask_along_axis takes as long as the rest of a short recording's processing.
        changed = mel.numpy().copy()
        mean = changed.mean()
        for _ in range(config.time_masks):
            changed[:, :frames][:, _stretch(longest, frames, rng)] = mean
        for _ in range(config.frequency_masks):
            changed[_stretch(widest, bins, rng), :frames] = mean
        return MediaItem({**item.tensors, "mel": torch.from_numpy(changed)}, item.length)


def _stretch(longest: int, size: int, rng: Generator) -> slice:
    """Draw a stretch of an axis as torchaudio does: its length below ``longest``, then its place."""
    length = rng.uniform(0.0, longest)
    start = rng.uniform(0.0, size - length)
    return slice(int(start), int(start) + int(length))
