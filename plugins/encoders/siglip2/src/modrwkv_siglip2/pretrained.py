"""What is known of SigLIP 2 checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modrwkv_core.interfaces.pretrained_config import ConfigFile

__all__ = [
    "FIXED_CHECKPOINTS",
    "FIXED_FILES",
    "NAFLEX_CHECKPOINTS",
    "NAFLEX_FILES",
]

BASE: Final = {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072}
LARGE: Final = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096}
SO400M: Final = {"hidden_size": 1152, "num_layers": 27, "num_heads": 16, "intermediate_size": 4304}
GIANT: Final = {"hidden_size": 1536, "num_layers": 40, "num_heads": 16, "intermediate_size": 6144}


def _fixed(tower: Mapping[str, int], patch_size: int, image_size: int) -> dict[str, Any]:
    return {"image_size": image_size, "patch_size": patch_size, "resample": "bilinear", **tower}


def _naflex(tower: Mapping[str, int]) -> dict[str, Any]:
    return {"max_patches": 256, "positions": 256, "patch_size": 16, "resample": "bilinear", **tower}


FIXED_CHECKPOINTS: Final = {
    f"google/siglip2-{size}-patch{patch_size}-{image_size}": _fixed(tower, patch_size, image_size)
    for size, tower, patch_size, image_sizes in (
        ("base", BASE, 16, (224, 256, 384, 512)),
        ("base", BASE, 32, (256,)),
        ("large", LARGE, 16, (256, 384, 512)),
        ("so400m", SO400M, 14, (224, 384)),
        ("so400m", SO400M, 16, (256, 384, 512)),
        ("giant-opt", GIANT, 16, (256, 384)),
    )
    for image_size in image_sizes
}
"""Google's models of fixed resolution (SigLIP 2, table 1)."""

NAFLEX_CHECKPOINTS: Final = {
    "google/siglip2-base-patch16-naflex": _naflex(BASE),
    "google/siglip2-so400m-patch16-naflex": _naflex(SO400M),
}
"""Google's models for native aspect ratios (SigLIP 2, section 2.4.2)."""

TOWER_KEYS: Final = {
    "patch_size": "patch_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
}

MODEL_CONSTANTS: Final = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "num_channels": 3}

PROCESSOR_FILES: Final = ("preprocessor_config.json", "processor_config.json")

PROCESSOR_CONSTANTS: Final = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}

RESAMPLING: Final = {"resample": {2: "bilinear", 3: "bicubic"}}
"""Names of Pillow's numbers, which processor configurations hold."""

FIXED_FILES: Final = (
    ConfigFile(
        names=("config.json",),
        keys={"image_size": "image_size", **TOWER_KEYS},
        defaults={"image_size": 224, "patch_size": 16, **BASE},
        constants=MODEL_CONSTANTS,
        sections=("vision_config",),
        model_types=("siglip", "siglip_vision_model"),
    ),
    ConfigFile(
        names=PROCESSOR_FILES,
        keys={"resample": "resample"},
        defaults={"resample": "bicubic"},
        constants=PROCESSOR_CONSTANTS,
        sections=("image_processor",),
        translations=RESAMPLING,
    ),
)

NAFLEX_FILES: Final = (
    ConfigFile(
        names=("config.json",),
        keys={"positions": "num_patches", **TOWER_KEYS},
        defaults={"positions": 256, "patch_size": 16, **BASE},
        constants=MODEL_CONSTANTS,
        sections=("vision_config",),
        model_types=("siglip2", "siglip2_vision_model"),
    ),
    ConfigFile(
        names=PROCESSOR_FILES,
        keys={"resample": "resample", "max_patches": "max_num_patches"},
        defaults={"resample": "bilinear", "max_patches": 256},
        constants=PROCESSOR_CONSTANTS,
        sections=("image_processor",),
        translations=RESAMPLING,
    ),
)
