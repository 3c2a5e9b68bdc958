"""Muon as an optimizer of phases: for hidden matrices, with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.optimizer import Optimizer
from modrwkv_core.training.config import MuonConfig

__all__ = ["Muon"]

Groups = list[dict[str, Any]]


class Muon(Optimizer[MuonConfig]):
    """Torch's Muon and fused AdamW, each on its own parameters.

    Muon's steps are scaled so that their root mean square is that of AdamW's (``match_rms_adamw``; Moonlight, arXiv
    2502.16982): one learning rate and weight decay serve both.

    Raises:
        ComponentError: This version of torch has no Muon.
    """

    def __init__(self, config: MuonConfig, groups: Sequence[dict[str, Any]]) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ComponentError(
                f"torch {torch.__version__} has no Muon",
                component="optimizer/muon",
                hint="install torch 2.9 or newer, or use `adamw`",
            )
        torch.optim.Optimizer.__init__(self, groups, {})
        matrices, others = self._split(config, hidden=True), self._split(config, hidden=False)
        self._inner: list[tuple[torch.optim.Optimizer, Groups]] = []
        if chosen := _non_empty(matrices):
            muon = torch.optim.Muon(chosen, momentum=config.momentum, adjust_lr_fn="match_rms_adamw")
            self._inner.append((muon, matrices))
        if chosen := _non_empty(others):
            adamw = torch.optim.AdamW(chosen, betas=config.betas, eps=config.eps, fused=True)
            self._inner.append((adamw, others))
        self._share_state()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step with both."""
        for optimizer, groups in self._inner:
            for outer, inner in zip(self.param_groups, groups, strict=True):
                inner["lr"] = outer["lr"]
            optimizer.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back a state."""
        super().load_state_dict(state_dict)
        self._share_state()

    def _split(self, config: MuonConfig, *, hidden: bool) -> Groups:
        """Return for each group that of its parameters which are hidden matrices, or which are not."""
        return [
            {
                "params": [
                    parameter
                    for name, parameter in zip(group["names"], group["params"], strict=True)
                    if _is_hidden(name, parameter, config) is hidden
                ],
                "lr": group["lr"],
                "weight_decay": group["weight_decay"],
            }
            for group in self.param_groups
        ]

    def _share_state(self) -> None:
        # Checkpoints and the trainer look at this optimizer's state and groups.
        for optimizer, _ in self._inner:
            optimizer.state = self.state


def _is_hidden(name: str, parameter: Tensor, config: MuonConfig) -> bool:
    return parameter.ndim == 2 and not any(fnmatchcase(name.replace(":", "."), each) for each in config.adamw)


def _non_empty(groups: Groups) -> Groups:
    return [group for group in groups if group["params"]]
