"""What a phase trains: the listed parts, in training mode; everything else is frozen and in eval mode."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["apply_plan", "parameter_groups", "selected_parts"]


def selected_parts(names: Iterable[str], parts: Iterable[str]) -> set[str]:
    """Return the parts that ``names`` mean.

    ``backbone`` and dotted names such as ``image.adapter`` mean one part; ``encoder``, ``compressor`` and ``adapter``
    mean those of every modality, ``heads`` all heads, and the name of a modality its whole front end.
    """
    wanted = set(names)
    return {part for part in parts if part in wanted or wanted & set(part.split("."))}


def apply_plan(model: MultimodalModel, phase: Phase) -> set[str]:
    """Unfreeze what ``phase`` trains, freeze the rest, set the modes; return the names of the trained parts."""
    parts = model.parts()
    trained = selected_parts(phase.train, parts)
    assert trained, "the manifest's validation lets no phase pass that trains nothing"
    for name, part in parts.items():
        part.train(name in trained)
        part.requires_grad_(name in trained)
    return trained


def parameter_groups(model: MultimodalModel, phase: Phase) -> list[dict[str, object]]:
    """Group the trainable parameters for the optimiser.

    Weight decay touches large matrices only: those that the backbone lists, and the matrices of the other parts. The
    official RWKV-7 recipe warns that decaying the low-rank matrices makes the model much worse, and gives ``w0`` twice
    the learning rate (RWKV-LM, RWKV-v7).

    Returns:
        Groups with ``params``, ``names``, ``weight_decay`` and ``lr_scale``.
    """
    groups: dict[tuple[float, float], tuple[list[nn.Parameter], list[str]]] = {}
    for part_name, part in model.parts().items():
        for name, parameter in part.named_parameters():
            if not parameter.requires_grad:
                continue
            if part is model.backbone:
                decays = name in model.backbone.decayed_parameters()
                scale = model.backbone.lr_scales().get(name, 1.0)
            else:
                decays = parameter.ndim >= 2
                scale = 1.0
            scale *= _part_scale(phase, part_name)
            parameters, names = groups.setdefault((phase.weight_decay if decays else 0.0, scale), ([], []))
            parameters.append(parameter)
            names.append(f"{part_name}:{name}")
    return [
        {"params": parameters, "names": names, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), (parameters, names) in groups.items()
    ]


def _part_scale(phase: Phase, part: str) -> float:
    matching = [scale for name, scale in phase.lr_scales.items() if selected_parts([name], [part])]
    assert len(matching) <= 1, "the manifest's validation lets no part have two scales"
    return matching[0] if matching else 1.0
