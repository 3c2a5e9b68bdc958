"""Weights in bfloat16 for the passes of a step, with their float32 masters for the optimizer and for checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WorkingWeights"]


class WorkingWeights:
    """The bfloat16 weights of all linear and convolutional layers of a model, and of other products.

    Under autocast these cast their weights in every step, one by one, and the gradients back. Here a weight is
    cast once after it has changed, all of them together, and a frozen one only once; every product has the inputs that
    autocast gives it, so the results are the same. Other parameters (norms, embeddings, decays) stay in float32.

    Outside of :meth:`active` the model has its float32 weights.

    Args:
        model: In float32, on its device; the parameters that learn are known.
        others: Further parameters that only matrix products read.
    """

    def __init__(self, model: nn.Module, others: Iterable[nn.Parameter] = ()) -> None:
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        layers = [module for module in model.modules() if isinstance(module, kinds)]
        of_layers = (parameter for layer in layers for parameter in layer.parameters(recurse=False))
        found = dict.fromkeys((*of_layers, *others))
        self._parameters = [parameter for parameter in found if parameter.dtype == torch.float32]
        self._masters = [parameter.data for parameter in self._parameters]
        self._weights = [master.to(torch.bfloat16) for master in self._masters]

    @contextmanager
    def active(self) -> Iterator[None]:
        """Give the model its bfloat16 weights, for forward and backward passes; afterwards gradients are float32."""
        self._set(self._weights)
        try:
            yield
        finally:
            gradients = [parameter.grad for parameter in self._parameters]
            for parameter in self._parameters:
                parameter.grad = None
            self._set(self._masters)
            self._give_gradients(gradients)

    def refresh(self) -> None:
        """Cast what an optimizer step has changed."""
        pairs = zip(self._parameters, self._weights, self._masters, strict=True)
        changed = [(weight, master) for parameter, weight, master in pairs if parameter.requires_grad]
        if changed:
            weights, masters = zip(*changed, strict=True)
            torch._foreach_copy_(weights, masters)

    def _set(self, tensors: list[Tensor]) -> None:
        for parameter, tensor in zip(self._parameters, tensors, strict=True):
            parameter.data = tensor

    def _give_gradients(self, gradients: list[Tensor | None]) -> None:
        pairs = [
            (parameter, gradient)
            for parameter, gradient in zip(self._parameters, gradients, strict=True)
            if gradient is not None
        ]
        if not pairs:
            return
        full = [torch.empty_like(parameter) for parameter, _ in pairs]
        torch._foreach_copy_(full, [gradient for _, gradient in pairs])
        for (parameter, _), gradient in zip(pairs, full, strict=True):
            parameter.grad = gradient
