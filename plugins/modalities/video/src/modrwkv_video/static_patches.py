"""Which patches of a film have changed.

F = frames of a window, C = channels, H = height, W = width, P = patches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from modrwkv_core.interfaces.grids import Grid

__all__ = ["StaticPatches"]


class StaticPatches:
    """Finds the patches of a film that have changed since they were last shown.

    A patch is compared with its latest pixels that were kept, not with those of the frame before, so that slow changes
    add up and are shown at last.

    Source: Bagrov et al., Efficient Video Sampling, arXiv 2510.14624, which compares each patch with the frame before.

    Args:
        grid: Rows and columns of patches.
        threshold: The largest mean absolute difference of 8-bit values that counts as no change.
    """

    def __init__(self, grid: Grid, threshold: float) -> None:
        self._grid = grid
        self._threshold = threshold
        self._shown: Tensor | None = None

    def changed(self, frames_FCHW: Tensor) -> Tensor:
        """Return the indices of the patches of the next frames, uint8, that have changed in any of them: ``[n <= P]``.

        All have in the first call.
        """
        frames_FCHW = frames_FCHW.to(torch.int16)
        rows, columns = self._grid
        if self._shown is None:
            self._shown = frames_FCHW[-1]
            return torch.arange(rows * columns)
        difference_FHW = (frames_FCHW - self._shown).abs().float().mean(dim=1)
        patches_FRC = functional.adaptive_avg_pool2d(difference_FHW, (rows, columns))
        changed_RC = patches_FRC.amax(dim=0) > self._threshold
        pixels = functional.interpolate(changed_RC[None, None].float(), size=frames_FCHW.shape[-2:]).bool()
        self._shown = torch.where(pixels[0], frames_FCHW[-1], self._shown)
        return changed_RC.flatten().nonzero()[:, 0]
