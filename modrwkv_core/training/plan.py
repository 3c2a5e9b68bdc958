"""What a phase trains: parameters of the listed parts, in training mode; everything else is frozen and in eval mode."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

from torch import nn

from modrwkv_core.errors import ManifestError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.schema import Manifest, Phase
from modrwkv_core.model.finetuning import finetuning_method
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.context import RunContext

__all__ = ["PhasePlan", "apply_plan", "check_plan", "parameter_groups"]

Method = FinetuningMethod[Any]


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """A phase, ready to begin.

    Attributes:
        phase: Its section of the manifest.
        method: Its fine-tuning method.
        sources: Its data.
        steps: Its length.
    """

    phase: Phase
    method: FinetuningMethod[Any]
    sources: list[Source[Any]]
    steps: int

    @classmethod
    def of(cls, context: RunContext, phase: Phase) -> Self:
        """Make ready what ``phase`` needs.

        Raises:
            DataError: A source holds no records.
            ManifestError: It trains nothing, or has no steps.
        """
        sources = context.sources(phase)
        method = finetuning_method(context.loaded, phase)
        check_plan(context.model, context.manifest, phase, method)
        context.measure(phase, [*sources, *context.valid])
        loader = context.loader(phase, sources)
        if context.valid:
            context.loader(phase, context.valid)  # which refuses empty sources
        steps = phase.steps
        if steps is None:
            assert phase.epochs is not None, "the manifest's validation asks for epochs or steps"
            steps = sum(loader.batches_per_epoch(epoch) for epoch in range(phase.epochs))
        if steps == 0:
            raise ManifestError(
                f"phase {phase.name} has no steps: its epochs hold no records",
                component=f"phases.{phase.name}",
                hint="raise `epochs` or the `repeat` of its sources",
            )
        return cls(phase, method, sources, steps)


def check_plan(model: MultimodalModel, manifest: Manifest, phase: Phase, method: Method) -> None:
    """Refuse a phase that trains nothing, or that freezes what it does not train.

    Raises:
        ManifestError: None of the parts that the phase trains has parameters that learn, or a glob of its ``freeze``
            matches no parameter of these parts.
    """
    parts = model.parts()
    assert set(manifest.parts) == parts.keys(), "the manifest and the model have the same parts"
    if not any(_trainable(method, parts[name]) for name in manifest.select(phase.train)):
        raise ManifestError(
            f"phase {phase.name} trains {', '.join(phase.train)}, which have no weights",
            component=f"phases.{phase.name}.train",
            hint="name a part that can learn, such as adapter or backbone",
        )
    trained = manifest.select(phase.train)
    _check_freeze(phase, [f"{part}.{name}" for part in trained for name, _ in parts[part].named_parameters()])


def apply_plan(model: MultimodalModel, manifest: Manifest, phase: Phase, method: Method) -> set[str]:
    """Unfreeze what ``phase`` trains, freeze the rest, set the modes; return the names of the trained parts.

    Raises:
        ManifestError: A glob of the phase's ``freeze`` matches nothing that learns, or all of it.
    """
    trained = set(manifest.select(phase.train))
    learning = []
    model.train()  # the embedders look at their next features
    for name, part in model.parts().items():
        part.train(name in trained)
        part.requires_grad_(False)
        if name in trained:
            learns = _trainable(method, part)
            learning += [f"{name}.{each}" for each in learns]
            for parameter_name, parameter in part.named_parameters():
                parameter.requires_grad_(parameter_name in learns and not _is_frozen(f"{name}.{parameter_name}", phase))
    _check_freeze(phase, learning)
    if all(_is_frozen(name, phase) for name in learning):
        raise ManifestError(
            f"phase {phase.name} freezes all that it trains",
            component=f"phases.{phase.name}.freeze",
            hint="freeze less, or leave the phase out",
        )
    return trained


def _trainable(method: Method, part: nn.Module) -> set[str]:
    with guard(method.origin, "trainable()"):
        return method.trainable(_component(part))


def _check_freeze(phase: Phase, names: Collection[str]) -> None:
    """Refuse globs of the phase's ``freeze`` that match none of ``names``."""
    for glob in phase.freeze:
        if not any(fnmatchcase(name, glob) for name in names):
            raise ManifestError(
                f"phase {phase.name} has no weights {glob} that could be frozen",
                component=f"phases.{phase.name}.freeze",
                hint=f"what it trains: {', '.join(sorted(names)[:4])}, ...",
            )


def _is_frozen(name: str, phase: Phase) -> bool:
    return any(fnmatchcase(name, glob) for glob in phase.freeze)


def parameter_groups(model: MultimodalModel, manifest: Manifest, phase: Phase) -> list[dict[str, Any]]:
    """Group the trainable parameters for the optimizer.

    Weight decay touches large matrices only: those that the backbone lists, and the matrices of the other parts. The
    official RWKV-7 recipe warns that decaying the low-rank matrices makes the model much worse, and gives ``w0`` twice
    the learning rate (RWKV-LM, RWKV-v7).

    Returns:
        Groups with ``params``, their ``names``, ``lr`` and ``weight_decay``.
    """
    backbone = model.backbone
    decayed, multipliers = backbone.weight_decay_parameters(), backbone.lr_multipliers()
    groups: dict[tuple[float, float], tuple[list[nn.Parameter], list[str]]] = {}
    parts = model.parts()
    for part_name, lr in manifest.learning_rates(phase).items():
        part = parts[part_name]
        for name, parameter in part.named_parameters():
            if not parameter.requires_grad:
                continue
            decays = name in decayed if part is backbone else parameter.ndim >= 2
            multiplier = multipliers.get(name, 1.0) if part is backbone else 1.0
            decay = phase.optimizer.weight_decay if decays else 0.0
            parameters, names = groups.setdefault((lr * multiplier, decay), ([], []))
            parameters.append(parameter)
            names.append(f"{part_name}:{name}")
    return [
        {"params": parameters, "names": names, "lr": lr, "weight_decay": decay}
        for (lr, decay), (parameters, names) in groups.items()
    ]


def _component(part: nn.Module) -> Component:
    assert isinstance(part, Component)
    return part
