"""What is known of WavLM checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.interfaces.pretrained_config import ConfigFile
from modrwkv_core.interfaces.waveform_config import (
    BASE_SIZES,
    LARGE_SIZES,
    MODEL_CONSTANTS,
    MODEL_KEYS,
    PREPROCESSOR_FILE,
)

__all__ = ["CONFIG_FILES", "KNOWN_CHECKPOINTS"]

POSITIONS: Final[dict[str, Any]] = {"buckets": 320, "max_distance": 800}
BASE: Final = {**BASE_SIZES, **POSITIONS, "rate": 16_000, "normalize": False}

KNOWN_CHECKPOINTS: Final = {
    "microsoft/wavlm-base": BASE,
    "microsoft/wavlm-base-plus": BASE,
    "microsoft/wavlm-large": {**LARGE_SIZES, **POSITIONS, "rate": 16_000, "normalize": True},
}
"""Microsoft's models (WavLM, section 4.1)."""

CONFIG_FILES: Final = (
    ConfigFile(
        names=("config.json",),
        keys={**MODEL_KEYS, "buckets": "num_buckets", "max_distance": "max_bucket_distance"},
        defaults={**BASE_SIZES, **POSITIONS},
        constants=MODEL_CONSTANTS,
        model_types=("wavlm",),
    ),
    PREPROCESSOR_FILE,
)
