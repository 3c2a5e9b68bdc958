"""Why a model does not use a modality, as far as the norms of its training tell."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["EMERGED", "Diagnosis", "diagnose", "unused_modalities", "warn_of_unused_modalities"]

EMERGED: Final = 0.02
"""Share of its loss that a model must lose with the media of others before it counts as using them."""

_FAR: Final = 20.0
"""Ratio of feature norms and text norms, one way or the other, that is too far from 1."""

_SLOW: Final = 1 / 3
"""Relative update of a modality over that of the backbone, from which on long features count as the cause: fresh text
embeddings are tiny, so that long features are no harm by themselves."""

_VANISHING: Final = 1e-3
"""Share of the gradient's norm below which a modality's parts get almost none of it."""

_IDLE: Final = 1e-6
"""Relative update of a step that changes nothing."""

_CLIPPED: Final = 20.0
"""How many times the longest allowed gradient a usual one may be long."""

Lines = Sequence[Mapping[str, float | str]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What probably keeps a modality from being used.

    Attributes:
        cause: As a clause.
        remedy: As an instruction.
    """

    cause: str
    remedy: str


def unused_modalities(metrics: Mapping[str, float], loss: float) -> dict[str, float]:
    """Return the gain of each modality that the model does not use.

    Args:
        metrics: As :func:`~modrwkv_core.training.validation.validate` returns them.
        loss: The weighted held-out loss.
    """
    gains = {name.partition("/")[2]: gain for name, gain in metrics.items() if name.startswith("modality_gain/")}
    return {modality: gain for modality, gain in gains.items() if gain < EMERGED * loss}


def diagnose(modality: str, lines: Lines, max_grad_norm: float | None) -> Diagnosis:
    """Name the likely cause from what a phase has logged.

    Args:
        modality: One that the model does not use.
        lines: The log lines of the phase; medians over them count.
        max_grad_norm: Where the phase clips gradients.
    """
    ratio = _median(lines, f"feature_norm/{modality}")
    total = _median(lines, "gradient_norm")
    parts = {name.partition("/")[2] for line in lines for name in line if name.startswith(f"gradient_norm/{modality}.")}
    if ratio is None or total is None:
        return Diagnosis(
            "the training data of this phase show none of it", f"add a source with {modality} to the phase's data"
        )
    if not parts:
        return Diagnosis(
            "none of its parts learns in this phase", f"name its adapter in `train`, for example `{modality}.adapter`"
        )
    update = max(_median(lines, f"update_norm/{part}") or 0.0 for part in parts)
    of_backbone = _median(lines, "update_norm/backbone")
    is_slow = of_backbone is None or update < _SLOW * of_backbone
    if ratio < 1 / _FAR or (ratio > _FAR and is_slow):
        longer = f"{ratio:.0f} times longer" if ratio > 1 else f"{1 / ratio:.0f} times shorter"
        return Diagnosis(
            f"its features are {longer} than text embeddings",
            f"begin with `modalities.{modality}.adapter.init: matched` where the adapter has it, or with a norm in the "
            f"adapter",
        )
    squares = (_median(lines, f"gradient_norm/{part}") or 0.0 for part in parts)
    share = sum(square**2 for square in squares) ** 0.5 / total if total else 0.0
    if share < _VANISHING:
        return Diagnosis(
            f"its gradients vanish: they are {share:.1g} of the whole gradient",
            f"raise its learning rate with `lr_multipliers: {{{modality}: 10}}`, and train fewer other parts at first",
        )
    if max_grad_norm is not None and total > _CLIPPED * max_grad_norm:
        return Diagnosis(
            f"gradients are clipped to 1/{total / max_grad_norm:.0f} of their norm",
            "lower the learning rate or raise `scheduler.warmup_steps`",
        )
    if update < _IDLE:
        return Diagnosis(
            f"its weights hardly move: a step changes them by {update:.1g} of their norm",
            "raise the learning rate",
        )
    return Diagnosis(
        "its features and gradients look sound, so it is probably asked too much at once",
        "begin with a phase of captions or of the simplest questions, train longer, and make sure that the answers "
        "cannot be told without it",
    )


def warn_of_unused_modalities(
    when: str, metrics: Mapping[str, float], loss: float, lines: Lines, max_grad_norm: float | None
) -> None:
    """Warn of each modality that the model ignores, with the likely cause and a remedy.

    Args:
        when: Where training stands, as ``after phase align``.
        metrics: As :func:`~modrwkv_core.training.validation.validate` returns them.
        loss: The weighted held-out loss.
        lines: The log lines of the phase.
        max_grad_norm: Where the phase clips gradients.
    """
    for modality, gain in unused_modalities(metrics, loss).items():
        found = diagnose(modality, lines, max_grad_norm)
        warnings.warn(
            f"{when} the model does not use its {modality}: with the media of other conversations its held-out loss of "
            f"{loss:.3g} rises by {gain:.2g} only. Likely cause: {found.cause}. Remedy: {found.remedy}",
            stacklevel=2,
        )


def _median(lines: Lines, name: str) -> float | None:
    values = [float(line[name]) for line in lines if name in line]
    return statistics.median(values) if values else None
