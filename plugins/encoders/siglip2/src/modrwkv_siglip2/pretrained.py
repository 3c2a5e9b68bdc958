"""What is known of published SigLIP 2 checkpoints without their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import published_json

__all__ = [
    "NAFLEX_CHECKPOINT",
    "PAPER_CHECKPOINT",
    "published_naflex_input",
    "published_naflex_sizes",
    "published_resampling",
    "published_sizes",
]

PAPER_CHECKPOINT: Final = "google/siglip2-base-patch16-384"
"""The encoder of the ModRWKV paper (its section 3)."""

NAFLEX_CHECKPOINT: Final = "google/siglip2-base-patch16-naflex"
"""The smaller one of the two towers for native aspect ratios."""

PUBLISHED: Final = re.compile(r"google/siglip2-(base|large|so400m|giant-opt)-patch(\d+)-(\d+|naflex)")

TOWERS: Final = {
    "base": {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096},
    "so400m": {"hidden_size": 1152, "num_layers": 27, "num_heads": 16, "intermediate_size": 4304},
    "giant-opt": {"hidden_size": 1536, "num_layers": 40, "num_heads": 16, "intermediate_size": 6144},
}

NAFLEX_POSITIONS: Final = 256
"""Learned positions of both NaFlex towers, and patches of a picture unless told otherwise."""

TOWER_KEYS: Final = {
    "patch_size": ("patch_size", 16),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
}
"""Our name of a size, its key in ``config.json``, and what its default there."""

FIXED_KEYS: Final = {"image_size": ("image_size", 224), **TOWER_KEYS}
NAFLEX_KEYS: Final = {"positions": ("num_patches", NAFLEX_POSITIONS), **TOWER_KEYS}

MODEL_CONSTANTS: Final = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_channels": 3}

PROCESSOR_CONSTANTS: Final = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}

RESAMPLING: Final = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which processor configurations hold."""

ENCODERS: Final = {"siglip": "siglip2", "siglip2": "siglip2_naflex"}
"""Which of our encoders reads which ``model_type``; SigLIP 2 of fixed resolution is of that of the first generation."""


def published_sizes(reference: str) -> dict[str, int]:
    """Return the sizes of a checkpoint's vision tower by the names that a configuration gives them.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file; Google's own models need no file.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged, or not that of a SigLIP of fixed resolution.
    """
    known = _known(reference, "siglip")
    if known is None:
        return _read_sizes(reference, "siglip", FIXED_KEYS)
    tower, patch_size, image_size = known
    return {"image_size": int(image_size), "patch_size": int(patch_size), **TOWERS[tower]}


def published_naflex_sizes(reference: str) -> dict[str, int]:
    """Do the same for a NaFlex checkpoint."""
    known = _known(reference, "siglip2")
    if known is None:
        return _read_sizes(reference, "siglip2", NAFLEX_KEYS)
    tower, patch_size, _ = known
    return {"positions": NAFLEX_POSITIONS, "patch_size": int(patch_size), **TOWERS[tower]}


def published_resampling(reference: str) -> str:
    """Return how a checkpoint's own processor resizes pictures.

    Raises:
        CheckpointError: The processor's configuration is missing, damaged, or does something else than SigLIP's.
    """
    return "bilinear" if _known(reference, "siglip") else _resampling(_read_processor(reference), 3, reference)


def published_naflex_input(reference: str) -> dict[str, Any]:
    """Return how a NaFlex checkpoint's own processor resizes pictures, and to how many patches at most.

    Raises:
        CheckpointError: The processor's configuration is missing, damaged, or does something else than SigLIP's.
    """
    if _known(reference, "siglip2"):
        return {"resample": "bilinear", "max_patches": NAFLEX_POSITIONS}
    processor = _read_processor(reference)
    return {
        "resample": _resampling(processor, 2, reference),
        "max_patches": _positive(processor, "max_num_patches", NAFLEX_POSITIONS, reference),
    }


def _known(reference: str, model_type: str) -> tuple[str, ...] | None:
    """Return tower, patch size and resolution (or ``naflex``) if ``baseline_data`` is one of Google's own models."""
    published = PUBLISHED.fullmatch(reference)
    if published is None:
        return None
    _require_type(reference, "siglip2" if published[3] == "naflex" else "siglip", model_type)
    return published.groups()


def _read_sizes(reference: str, model_type: str, keys: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    config = published_json(reference, "config.json")
    _require_type(reference, str(config.get("model_type")).removesuffix("_vision_model"), model_type)
    vision = config.get("vision_config", config)
    _require(vision, MODEL_CONSTANTS, reference)
    return {name: _positive(vision, key, default, reference) for name, (key, default) in keys.items()}


def _read_processor(reference: str) -> dict[str, Any]:
    content = published_json(reference, "preprocessor_config.json", "processor_config.json")
    processor: dict[str, Any] = content.get("image_processor", content)
    _require(processor, PROCESSOR_CONSTANTS, reference)
    return processor


def _resampling(processor: Mapping[str, Any], default: int, reference: str) -> str:
    number = processor.get("resample", default)
    if number not in RESAMPLING:
        raise CheckpointError(f"checkpoint {reference} resamples pictures by Pillow's method {number!r}, not 2 or 3")
    return RESAMPLING[number]


def _positive(found: Mapping[str, Any], key: str, default: int, reference: str) -> int:
    size = found.get(key, default)
    if not isinstance(size, int) or size < 1:
        raise CheckpointError(f"checkpoint {reference} has {key} = {size!r}, not a positive number")
    return size


def _require(found: Mapping[str, Any], constants: Mapping[str, Any], reference: str) -> None:
    for key, constant in constants.items():
        if found.get(key, constant) != constant:
            raise CheckpointError(f"checkpoint {reference} has {key} = {found[key]!r}, where SigLIP has {constant!r}")


def _require_type(reference: str, found: str, expected: str) -> None:
    if found != expected:
        other = f"use type: {ENCODERS[found]}" if found in ENCODERS else f"name one such as {PAPER_CHECKPOINT}"
        raise CheckpointError(f"checkpoint {reference} is a {found!r}, not a {expected!r}", hint=other)
