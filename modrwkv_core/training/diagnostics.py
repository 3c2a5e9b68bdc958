"""What says whether a phase can converge: norms of gradients and updates by part, and of features at the splice.

Only steps that are logged are measured, and no value waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from modrwkv_core.data.batch import Batch
from modrwkv_core.interfaces.values import Features
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.metrics import StepMetrics

__all__ = ["Diagnostics"]

_SAMPLED: Final = 2**16
"""Elements of a tensor that stand for all in the norm of its update: a copy of all weights would cost their memory."""

_TEXT: Final = "text embeddings"


class Diagnostics:
    """Measures steps of a phase.

    Args:
        context: The run; its model knows which parameters learn.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._model = context.model
        self._parameters = {
            name: [parameter for parameter in part.parameters() if parameter.requires_grad]
            for name, part in context.model.parts().items()
        }
        self._features: dict[str, Tensor] = {}
        self._before: dict[str, list[Tensor]] = {}
        self._gradients: dict[str, Tensor] = {}

    @contextmanager
    def watching(self, is_watching: bool) -> Iterator[None]:
        """Measure the features that the model splices into the text meanwhile, if ``is_watching``."""
        self._features = {}
        if not is_watching:
            yield
            return
        self._model.on_splice = self._add_features
        try:
            yield
        finally:
            self._model.on_splice = None

    def measure_gradients(self) -> None:
        """Measure gradients that may have been clipped, and remember the weights before they are updated."""
        trained = {
            name: parameters
            for name, parameters in self._parameters.items()
            if any(parameter.grad is not None for parameter in parameters)
        }
        self._gradients = {
            name: _square([_local(each.grad) for each in parameters if each.grad is not None])
            for name, parameters in trained.items()
        }
        self._before = {name: [_sample(each).clone() for each in parameters] for name, parameters in trained.items()}

    def add_to(self, metrics: StepMetrics) -> StepMetrics:
        """Return ``metrics``, which have a ``gradient_norm``, with the step's norms; all processes call this together.

        Added are ``gradient_norm/<part>`` before clipping; ``update_norm/<part>``, the norm of the change of the
        weights over that of the weights; ``feature_norm/<modality>``, the mean norm of the adapted features over the
        mean norm of text embeddings.
        """
        parts = list(self._gradients)
        changes = {name: self._change(name) for name in parts}
        rows = [torch.stack([self._gradients[name], *changes[name]]) for name in parts]
        squares = torch.stack(rows).double() if rows else metrics.values.new_zeros(0, 3)
        if self._context.sharded is not None:
            squares = self._context.world.sum(squares)
        gradient, change, weight = squares.unbind(dim=1)
        # Clipping scales all parts alike.
        total = metrics.values[metrics.names.index("gradient_norm")]
        gradient = total * _ratio(gradient, gradient.sum()).sqrt()
        modalities, features = self._feature_norms()
        return metrics.extended(
            (
                *(f"gradient_norm/{name}" for name in parts),
                *(f"update_norm/{name}" for name in parts),
                *(f"feature_norm/{name}" for name in modalities),
            ),
            torch.cat([gradient, _ratio(change, weight).sqrt(), features]),
        )

    def _change(self, part: str) -> tuple[Tensor, Tensor]:
        """Return estimates of the squared norms of a part's last update, and of its weights."""
        parameters = self._parameters[part]
        after = [_sample(parameter) for parameter in parameters]
        scales = [(_local(p).numel() / max(1, s.numel())) ** 0.5 for p, s in zip(parameters, after, strict=True)]
        return _square(list(torch._foreach_sub(self._before[part], after)), scales), _square(after, scales)

    @torch.no_grad()
    def _add_features(self, text_1TD: Tensor, features: Mapping[str, Features], batch: Batch) -> None:
        """Sum the norms of features by modality, and those of text embeddings."""
        if not any(batch.keys):  # the one token of a process without conversations
            return
        norms_T = text_1TD[0].float().norm(dim=-1)
        text, count = norms_T.sum(), len(norms_T)
        for name, of_modality in features.items():
            norms_N = of_modality.packed().float().norm(dim=-1)
            self._add_norms(name, norms_N.sum(), len(norms_N))
            # What is embedded at placeholders is no text.
            text = text - norms_T[batch.media_positions[name].to(norms_T.device)].sum()
            count -= len(norms_N)
        self._add_norms(_TEXT, text, count)

    def _add_norms(self, name: str, total: Tensor, count: int) -> None:
        pair = torch.stack([total, torch.full_like(total, count)])
        self._features[name] = self._features[name] + pair if name in self._features else pair

    def _feature_norms(self) -> tuple[list[str], Tensor]:
        """Return the modalities that some process has spliced, and the norms of their features."""
        world, device = self._context.world, self._context.device
        met = set().union(*world.gather(set(self._features)))
        names = [name for name in self._model.embedders if name in met]
        nothing = torch.zeros(2, device=device)
        sums = torch.stack([self._features.get(name, nothing) for name in (_TEXT, *names)]).double()
        means = _ratio(*world.sum(sums).unbind(dim=1))
        return names, _ratio(means[1:], means[0])


def _local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor that may be in shards."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _sample(tensor: Tensor) -> Tensor:
    """Return elements of a tensor at equal distances; an odd one meets all columns of a matrix."""
    flat = _local(tensor).detach().reshape(-1)
    return flat[:: -(-flat.numel() // _SAMPLED) | 1]


def _square(tensors: list[Tensor], scales: list[float] | None = None) -> Tensor:
    """Return the squared norm of tensors together, each scaled."""
    norms = torch._foreach_norm(tensors)
    if scales is not None:
        norms = torch._foreach_mul(norms, scales)
    return torch.stack(norms).square().sum()


def _ratio(one: Tensor, other: Tensor) -> Tensor:
    """Return ``one / other``, and 0 where there is nothing to divide by."""
    return torch.where(other > 0, one / other, 0.0)
