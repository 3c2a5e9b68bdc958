"""What is known of published WavLM checkpoints without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import published_json

__all__ = ["BASE_CHECKPOINT", "published_input", "published_sizes"]

BASE_CHECKPOINT: Final = "microsoft/wavlm-base-plus"
"""The smaller WavLM of the ModRWKV paper."""

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

PUBLISHED: Final = {
    "microsoft/wavlm-base": (BASE, {"rate": 16_000, "normalize": False}),
    "microsoft/wavlm-base-plus": (BASE, {"rate": 16_000, "normalize": False}),
    "microsoft/wavlm-large": (LARGE, {"rate": 16_000, "normalize": True}),
}
"""Sizes (WavLM, section 4.1) and input of Microsoft's own models."""

MODEL_KEYS: Final = {
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
}
"""Our name of a size and its key in ``config.json``, where its default the value of the base model."""

MODEL_CONSTANTS: Final = {
    "model_type": "wavlm",
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "add_adapter": False,
}


def published_sizes(reference: str) -> dict[str, Any]:
    """Return the sizes of a checkpoint by the names that a configuration gives them.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file; Microsoft's own models need no file.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged, or not that of a WavLM.
    """
    if reference in PUBLISHED:
        return PUBLISHED[reference][0]
    config = published_json(reference, "config.json")
    for key, constant in MODEL_CONSTANTS.items():
        if config.get(key, constant) != constant:
            raise CheckpointError(f"checkpoint {reference} has {key} = {config[key]!r}, where WavLM has {constant!r}")
    return {name: _size(config, key, BASE[name], reference) for name, key in MODEL_KEYS.items()}


def published_input(reference: str) -> dict[str, Any]:
    """Return the rate of the recordings that a checkpoint reads, and whether they are normalized.

    Raises:
        CheckpointError: The processor's configuration is missing or damaged.
    """
    if reference in PUBLISHED:
        return PUBLISHED[reference][1]
    processor = published_json(reference, "preprocessor_config.json", "processor_config.json")
    processor = processor.get("feature_extractor", processor)
    return {
        "rate": _size(processor, "sampling_rate", 16_000, reference),
        "normalize": _size(processor, "do_normalize", True, reference),
    }


def _size(config: Mapping[str, Any], key: str, default: Any, reference: str) -> Any:
    value = config.get(key, default)
    if isinstance(value, list):
        value = tuple(value)
    items, known = (value, default) if isinstance(default, tuple) else ((value,), (default,))
    if not isinstance(items, tuple) or any(type(item) is not type(known[0]) for item in items):
        raise CheckpointError(f"checkpoint {reference} has {key} = {value!r}, where WavLM has values such as {default}")
    return value
