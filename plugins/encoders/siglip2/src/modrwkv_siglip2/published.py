"""What is known of published SigLIP 2 checkpoints without their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.published import published_json

__all__ = ["PAPER_CHECKPOINT", "published_resampling", "published_sizes"]

PAPER_CHECKPOINT: Final = "google/siglip2-base-patch16-384"
"""The encoder of the ModRWKV paper (its section 3)."""

PUBLISHED: Final = re.compile(r"google/siglip2-(base|large|so400m|giant-opt)-patch(\d+)-(\d+)")

TOWERS: Final = {
    "base": {"width": 768, "layers": 12, "heads": 12, "mlp_width": 3072},
    "large": {"width": 1024, "layers": 24, "heads": 16, "mlp_width": 4096},
    "so400m": {"width": 1152, "layers": 27, "heads": 16, "mlp_width": 4304},
    "giant-opt": {"width": 1536, "layers": 40, "heads": 16, "mlp_width": 6144},
}

MODEL_KEYS: Final = {
    "image_size": ("image_size", 224),
    "patch_size": ("patch_size", 16),
    "width": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "mlp_width": ("intermediate_size", 3072),
}
"""Our name of a size, its key in ``config.json``, and what its absence means there."""

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


def published_sizes(reference: str) -> dict[str, int]:
    """Return the sizes of a checkpoint's vision tower by the names that a configuration gives them.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file; Google's own models need no file.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged, or not that of a SigLIP of fixed resolution.
    """
    published = PUBLISHED.fullmatch(reference)
    if published:
        tower, patch_size, image_size = published.groups()
        return {"image_size": int(image_size), "patch_size": int(patch_size), **TOWERS[tower]}
    config = published_json(reference, "config.json")
    kind = config.get("model_type")
    if kind not in ("siglip", "siglip_vision_model"):
        raise CheckpointError(
            f"checkpoint {reference} is a {kind!r}, not a SigLIP of fixed resolution",
            hint=f"name a checkpoint such as {PAPER_CHECKPOINT}; NaFlex variants are not supported",
        )
    vision = config.get("vision_config", config)
    _require(vision, MODEL_CONSTANTS, reference)
    sizes = {name: vision.get(key, default) for name, (key, default) in MODEL_KEYS.items()}
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise CheckpointError(f"checkpoint {reference} has {MODEL_KEYS[name][0]} = {size!r}, not a positive number")
    return sizes


def published_resampling(reference: str) -> str:
    """Return how a checkpoint's own processor resizes pictures.

    Raises:
        CheckpointError: The processor's configuration is missing, damaged, or does something else than SigLIP's.
    """
    if PUBLISHED.fullmatch(reference):
        return "bilinear"
    processor = published_json(reference, "preprocessor_config.json", "processor_config.json")
    processor = processor.get("image_processor", processor)
    _require(processor, PROCESSOR_CONSTANTS, reference)
    number = processor.get("resample", 3)
    if number not in RESAMPLING:
        raise CheckpointError(f"checkpoint {reference} resamples pictures by Pillow's method {number!r}, not 2 or 3")
    return RESAMPLING[number]


def _require(found: Mapping[str, Any], constants: Mapping[str, Any], reference: str) -> None:
    for key, constant in constants.items():
        if found.get(key, constant) != constant:
            raise CheckpointError(f"checkpoint {reference} has {key} = {found[key]!r}, where SigLIP has {constant!r}")
