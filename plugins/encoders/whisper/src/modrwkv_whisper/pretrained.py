"""What is known of published Whisper checkpoints without their weights."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import published_json

__all__ = ["BASE_CHECKPOINT", "published_sizes"]

BASE_CHECKPOINT: Final = "openai/whisper-small"
"""The smaller Whisper of the ModRWKV paper."""


def _sizes(hidden_size: int, num_layers: int, mel_bins: int = 80) -> dict[str, Any]:
    return {
        "mel_bins": mel_bins,
        "window": 1500,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_heads": hidden_size // 64,
        "intermediate_size": 4 * hidden_size,
    }


PUBLISHED: Final = {
    **{f"openai/whisper-tiny{language}": _sizes(384, 4) for language in ("", ".en")},
    **{f"openai/whisper-base{language}": _sizes(512, 6) for language in ("", ".en")},
    **{f"openai/whisper-small{language}": _sizes(768, 12) for language in ("", ".en")},
    **{f"openai/whisper-medium{language}": _sizes(1024, 24) for language in ("", ".en")},
    **{f"openai/whisper-large{version}": _sizes(1280, 32) for version in ("", "-v2")},
    **{f"openai/whisper-large-v3{variant}": _sizes(1280, 32, 128) for variant in ("", "-turbo")},
}
"""Sizes of OpenAI's own models (Whisper, table 1); the third version of the large one reads more mel bins."""

MODEL_KEYS: Final = {
    "mel_bins": "num_mel_bins",
    "window": "max_source_positions",
    "hidden_size": "d_model",
    "num_layers": "encoder_layers",
    "num_heads": "encoder_attention_heads",
    "intermediate_size": "encoder_ffn_dim",
}
"""Our name of a size and its key in ``config.json``."""

MODEL_CONSTANTS: Final = {"model_type": "whisper", "activation_function": "gelu", "scale_embedding": False}


def published_sizes(reference: str) -> dict[str, Any]:
    """Return the sizes of a checkpoint by the names that a configuration gives them.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file; OpenAI's own models need no file.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged, or not that of a Whisper.
    """
    if reference in PUBLISHED:
        return PUBLISHED[reference]
    config = published_json(reference, "config.json")
    for key, constant in MODEL_CONSTANTS.items():
        if config.get(key) != constant:
            raise CheckpointError(
                f"checkpoint {reference} has {key} = {config.get(key)!r}, where Whisper has {constant!r}"
            )
    for key in MODEL_KEYS.values():
        if type(config.get(key)) is not int:
            raise CheckpointError(f"checkpoint {reference} has {key} = {config.get(key)!r}, where Whisper has a number")
    return {name: config[key] for name, key in MODEL_KEYS.items()}
