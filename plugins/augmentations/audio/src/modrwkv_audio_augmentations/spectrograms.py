"""SpecAugment on the spectrograms that processors make."""

from __future__ import annotations

from numpy.random import Generator
from torchaudio.functional import mask_along_axis

from modrwkv_audio_augmentations.config import SpecAugmentConfig
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.augmentation import ItemAugmentation, torch_seeded
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
        # torchaudio places a mask that is wider than its axis before the axis.
        longest = min(config.time_width, int(config.max_time_share * frames))
        widest = min(config.frequency_width, bins)
        masked = mel[:, :frames]
        mean = float(mel.mean())
        with torch_seeded(rng):
            for _ in range(config.time_masks):
                masked = mask_along_axis(masked, longest, mean, axis=1)
            for _ in range(config.frequency_masks):
                masked = mask_along_axis(masked, widest, mean, axis=0)
        changed = mel.clone()
        changed[:, :frames] = masked
        return MediaItem({**item.tensors, "mel": changed}, item.length)
