"""A moving average of the weights that a phase trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError

__all__ = ["EMA"]

_UPDATES: Final = "updates"


class EMA:
    """Exponential moving average, in float32.

    After t updates the decay is ``min(decay, (1 + t) / (10 + t))``, so that the weights that a phase begins with do not
    outweigh its first steps.

    Args:
        decay: Share of the average that an update keeps.
        parameters: By name; what the average begins with.
    """

    def __init__(self, decay: float, parameters: Mapping[str, nn.Parameter]) -> None:
        self._decay = decay
        self._parameters = list(parameters.values())
        self._averages = {
            name: parameter.detach().to(torch.float32, copy=True) for name, parameter in parameters.items()
        }
        self._updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        weights = [parameter.to(torch.float32) for parameter in self._parameters]
        torch._foreach_lerp_([*self._averages.values()], weights, 1.0 - decay)

    @torch.no_grad()
    def copy_to_parameters(self) -> None:
        """Make the average the weights."""
        for parameter, average in zip(self._parameters, self._averages.values(), strict=True):
            parameter.copy_(average)

    def tensors(self) -> dict[str, Tensor]:
        """Return the average by the parameters' names, and the number of updates."""
        return self._averages | {_UPDATES: torch.tensor(self._updates)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`tensors` gave.

        Raises:
            CheckpointError: They are those of other parameters.
        """
        if tensors.keys() != self.tensors().keys():
            names = sorted(tensors.keys() ^ self.tensors().keys())
            raise CheckpointError(
                f"the average of weights is that of other parameters: {', '.join(names[:4])}",
                hint="resume with the manifest of the run",
            )
        for name, average in self._averages.items():
            average.copy_(tensors[name])
        self._updates = int(tensors[_UPDATES])
