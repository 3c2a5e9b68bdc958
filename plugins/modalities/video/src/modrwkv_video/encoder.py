"""Frames to features.

N = videos or windows of videos, F = frames of one, P = features of a frame, M = windows of one, D = width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.images_encoder import ImagesEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_video.config import VideoFramesConfig
from modrwkv_video.processor import CHANGED

__all__ = ["VideoFramesEncoder"]

BATCH: Final = 32
"""Frames that the image encoder reads at once, so that its memory does not grow with the videos of a batch."""


class VideoFramesEncoder(ImagesEncoder[VideoFramesConfig]):
    """Reads each frame with an image encoder and averages the features of each patch over windows of frames.

    Source: the spatial features of Maaz et al., Video-ChatGPT, arXiv 2306.05424, here in windows.

    Args:
        config: The configuration.
        encoder: The image encoder.
    """

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode videos: ``values [N, longest M * P, D]``, window after window, without the patches left out."""
        videos = [_pictures(item, self.config.encoder.typical_length) for item in items]
        pictures = [picture for video in videos for picture in video]
        batches = [self.encoder(pictures[begin : begin + BATCH]).values for begin in range(0, len(pictures), BATCH)]
        of_videos = torch.split(torch.cat(batches), [len(video) for video in videos])
        rows = [self._pooled(frames_FPD, item) for frames_FPD, item in zip(of_videos, items, strict=True)]
        return Features(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    def _pooled(self, frames_FPD: Tensor, item: MediaItem) -> Tensor:
        """Average over windows of frames, and leave out what has not changed: ``[length of the item, D]``."""
        windows = torch.split(frames_FPD, self.config.window)
        pooled = torch.cat([window_FPD.mean(dim=0) for window_FPD in windows])
        return pooled if CHANGED not in item.tensors else pooled[item.tensors[CHANGED]]


def _pictures(item: MediaItem, length: int | None) -> list[MediaItem]:
    """Return the frames of an item as the image encoder's items."""
    assert length is not None, "refused by the configuration"
    tensors = {name: tensor for name, tensor in item.tensors.items() if name != CHANGED}
    frames = len(next(iter(tensors.values())))
    return [MediaItem({name: tensor[frame] for name, tensor in tensors.items()}, length) for frame in range(frames)]
