"""What is known of WavLM checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.interfaces.pretrained_config import ConfigFile

__all__ = ["CONFIG_FILES", "KNOWN_CHECKPOINTS"]

BASE: Final[dict[str, Any]] = {
    "conv_dim": (512,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_bias": False,
    "conv_norm": "group",
    "hidden_size": 768,
    "num_layers": 12,
    "num_heads": 12,
    "intermediate_size": 3072,
    "norm_first": False,
    "position_kernel": 128,
    "position_groups": 16,
    "buckets": 320,
    "max_distance": 800,
}

LARGE: Final[dict[str, Any]] = {
    **BASE,
    "conv_norm": "layer",
    "hidden_size": 1024,
    "num_layers": 24,
    "num_heads": 16,
    "intermediate_size": 4096,
    "norm_first": True,
}

KNOWN_CHECKPOINTS: Final = {
    "microsoft/wavlm-base": {**BASE, "rate": 16_000, "normalize": False},
    "microsoft/wavlm-base-plus": {**BASE, "rate": 16_000, "normalize": False},
    "microsoft/wavlm-large": {**LARGE, "rate": 16_000, "normalize": True},
}
"""Microsoft's models (WavLM, section 4.1)."""

CONFIG_FILES: Final = (
    ConfigFile(
        names=("config.json",),
        keys={
            "conv_dim": "conv_dim",
            "conv_kernel": "conv_kernel",
            "conv_stride": "conv_stride",
            "conv_bias": "conv_bias",
            "conv_norm": "feat_extract_norm",
            "hidden_size": "hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "intermediate_size": "intermediate_size",
            "norm_first": "do_stable_layer_norm",
            "position_kernel": "num_conv_pos_embeddings",
            "position_groups": "num_conv_pos_embedding_groups",
            "buckets": "num_buckets",
            "max_distance": "max_bucket_distance",
        },
        defaults=BASE,
        constants={
            "hidden_act": "gelu",
            "feat_extract_activation": "gelu",
            "layer_norm_eps": 1e-5,
            "add_adapter": False,
        },
        model_types=("wavlm",),
    ),
    ConfigFile(
        names=("preprocessor_config.json", "processor_config.json"),
        keys={"rate": "sampling_rate", "normalize": "do_normalize"},
        defaults={"rate": 16_000, "normalize": True},
        sections=("feature_extractor",),
    ),
)
