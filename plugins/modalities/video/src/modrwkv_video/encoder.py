"""Frames to features.

N = videos, F = frames of a video, P = features of a frame, M = windows of a video, D = width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_video.config import VideoFramesConfig

__all__ = ["VideoFramesEncoder"]


class VideoFramesEncoder(Encoder[VideoFramesConfig]):
    """Reads each frame with an image encoder and averages the features of each patch over windows of frames.

    Source: the spatial features of Maaz et al., Video-ChatGPT, arXiv 2306.05424, here in windows.

    Args:
        config: The configuration.
        encoder: The image encoder.
    """

    def __init__(self, config: VideoFramesConfig, encoder: Encoder[Any]) -> None:
        super().__init__(config)
        self.encoder = encoder

    def load_pretrained(self) -> None:
        """Load the pretrained weights of the image encoder."""
        self.encoder.load_pretrained()

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the files of the image encoder."""
        return self.encoder.pretrained_files()

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode videos: ``values [N, longest M * P, D]``, window after window."""
        length = self.config.encoder.typical_length
        assert length is not None, "refused by the configuration"
        pictures = [
            MediaItem({name: tensor[frame] for name, tensor in item.tensors.items()}, length)
            for item in items
            for frame in range(item.length)
        ]
        features: Features = self.encoder(pictures)
        of_videos = torch.split(features.values, [item.length for item in items])
        videos = [self._pooled(frames_FPD) for frames_FPD in of_videos]
        return Features(pad_sequence(videos, batch_first=True), torch.tensor([len(video) for video in videos]))

    def _pooled(self, frames_FPD: Tensor) -> Tensor:
        """Average over windows of frames: ``[M * P, D]``."""
        windows = torch.split(frames_FPD, self.config.window)
        return torch.cat([window_FPD.mean(dim=0) for window_FPD in windows])
