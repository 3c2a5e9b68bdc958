"""What a phase trains: the listed parts, in training mode; everything else is frozen and in eval mode."""

from __future__ import annotations

from typing import Any

from torch import nn

from modrwkv_core.errors import ManifestError
from modrwkv_core.manifest.schema import Manifest, Phase
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["apply_plan", "parameter_groups"]


def apply_plan(model: MultimodalModel, manifest: Manifest, phase: Phase) -> set[str]:
    """Unfreeze what ``phase`` trains, freeze the rest, set the modes; return the names of the trained parts."""
    trained = set(manifest.select(phase.train))
    parts = model.parts()
    assert set(manifest.parts) == parts.keys(), "the manifest and the model have the same parts"
    for name, part in parts.items():
        part.train(name in trained)
        part.requires_grad_(name in trained)
    return trained


def parameter_groups(model: MultimodalModel, manifest: Manifest, phase: Phase) -> list[dict[str, Any]]:
    """Group the trainable parameters for the optimizer.

    Weight decay touches large matrices only: those that the backbone lists, and the matrices of the other parts. The
    official RWKV-7 recipe warns that decaying the low-rank matrices makes the model much worse, and gives ``w0`` twice
    the learning rate (RWKV-LM, RWKV-v7).

    Returns:
        Groups with ``params``, their ``names``, ``peak_lr`` and ``weight_decay``.

    Raises:
        ManifestError: None of the parts that the phase trains has weights.
    """
    backbone = model.backbone
    decayed, scales = backbone.weight_decay_parameters(), backbone.lr_multipliers()
    groups: dict[tuple[float, float], tuple[list[nn.Parameter], list[str]]] = {}
    parts = model.parts()
    for part_name, lr in manifest.learning_rates(phase).items():
        part = parts[part_name]
        for name, parameter in part.named_parameters():
            decays = name in decayed if part is backbone else parameter.ndim >= 2
            scale = scales.get(name, 1.0) if part is backbone else 1.0
            parameters, names = groups.setdefault((lr * scale, phase.weight_decay if decays else 0.0), ([], []))
            parameters.append(parameter)
            names.append(f"{part_name}:{name}")
    if not groups:
        raise ManifestError(
            f"phase {phase.name} trains {', '.join(phase.train)}, which have no weights",
            component=f"phases.{phase.name}.train",
            hint="name a part that can learn, such as adapter or backbone",
        )
    return [
        {"params": parameters, "names": names, "peak_lr": lr, "weight_decay": decay}
        for (lr, decay), (parameters, names) in groups.items()
    ]
