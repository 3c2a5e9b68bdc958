"""AdamW over the parameters of a phase, with a state that can be saved by parameter name."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.manifest.schema import Manifest, Phase
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.plan import parameter_groups

__all__ = ["Optimizer"]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) with the learning-rate scales and the decay of :func:`parameter_groups`.

    Args:
        model: Its trainable parameters are optimized.
        manifest: Which parts there are.
        phase: Learning rate, decay, betas, clipping.
    """

    def __init__(self, model: MultimodalModel, manifest: Manifest, phase: Phase) -> None:
        self.phase = phase
        groups: list[dict[str, Any]] = parameter_groups(model, manifest, phase)
        self._named = {
            name: parameter for group in groups for name, parameter in zip(group["names"], group["params"], strict=True)
        }
        self._adam = torch.optim.AdamW(
            [{key: value for key, value in group.items() if key != "names"} for group in groups],
            lr=phase.lr,
            betas=phase.betas,
            eps=phase.eps,
            fused=True,
        )

    def clip_grad_norm(self) -> float:
        """Clip the gradients' norm and return what it was before."""
        longest = math.inf if self.phase.max_grad_norm is None else self.phase.max_grad_norm
        return float(torch.nn.utils.clip_grad_norm_(self._named.values(), longest))

    def step(self, factor: float) -> None:
        """Take a step at ``factor`` times the groups' highest learning rates and clear the gradients."""
        for group in self._adam.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments as ``<moment>/<part>:<parameter>``."""
        return {
            f"{moment}/{name}": self._adam.state[parameter][moment]
            for name, parameter in self._named.items()
            for moment in MOMENTS
            if parameter in self._adam.state
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`tensors` gave.

        Raises:
            CheckpointError: They are those of other parameters.
        """
        known = {f"{moment}/{name}" for name in self._named for moment in MOMENTS}
        if unknown := tensors.keys() - known:
            raise CheckpointError(
                f"the optimizer's state is that of other parameters: {', '.join(sorted(unknown)[:4])}",
                hint="resume with the manifest of the run",
            )
        for name, parameter in self._named.items():
            if f"step/{name}" in tensors:
                self._adam.state[parameter] = {
                    moment: tensors[f"{moment}/{name}"].to(parameter.device if moment != "step" else "cpu")
                    for moment in MOMENTS
                }
