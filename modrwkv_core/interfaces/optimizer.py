"""The Optimizer interface: any :class:`torch.optim.Optimizer` that is built from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch

from modrwkv_core.interfaces.config import OptimizerConfig
from modrwkv_core.interfaces.guard import Origin

__all__ = ["Optimizer"]

OptimizerConfigT = TypeVar("OptimizerConfigT", bound=OptimizerConfig)


class Optimizer(torch.optim.Optimizer, Generic[OptimizerConfigT]):
    """An optimizer of the parameters that a phase trains.

    Inherit it before the optimizer that you provide, and hand the settings on::

        class AdamW(Optimizer[AdamWConfig], torch.optim.AdamW):
            def __init__(self, config: AdamWConfig, groups: Sequence[dict[str, Any]]) -> None:
                torch.optim.AdamW.__init__(self, groups, betas=config.betas, eps=config.eps)

    The trainer sets ``lr`` of every group before every step, clips gradients and clears them. It saves ``state``, whose
    values must be tensors or numbers by name, and gives it back with ``load_state_dict``; a run that is resumed on the
    CPU is then bit-identical to one that was not interrupted.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: OptimizerConfigT, groups: Sequence[dict[str, Any]]) -> None:
        """Build the optimizer.

        Args:
            config: Its configuration.
            groups: Parameter groups as torch knows them: ``params``, ``names`` (of each parameter, as
                ``<part>:<parameter>``), ``lr`` (the highest learning rate) and ``weight_decay``, which is 0 for
                parameters that must not decay.
        """
        raise NotImplementedError("build the optimizer that you provide; see the class's example")
