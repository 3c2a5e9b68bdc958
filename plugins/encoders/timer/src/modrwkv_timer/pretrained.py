"""What is known of published Timer checkpoints without their weights."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import published_json

__all__ = ["BASE_CHECKPOINT", "published_sizes"]

BASE_CHECKPOINT: Final = "thuml/timer-base-84m"
"""The Timer of the ModRWKV paper."""

BASE: Final[dict[str, Any]] = {
    "patch": 96,
    "hidden_size": 1024,
    "num_layers": 8,
    "num_heads": 8,
    "intermediate_size": 2048,
}

MODEL_KEYS: Final = {
    "patch": "input_token_len",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
}
"""Our name of a size and its key in ``config.json``."""

MODEL_CONSTANTS: Final = {"model_type": "timer", "hidden_act": "silu", "rope_theta": 10_000}


def published_sizes(reference: str) -> dict[str, Any]:
    """Return the sizes of a checkpoint by the names that a configuration gives them.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file; ``thuml/timer-base-84m`` needs no file.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged, or not that of a Timer.
    """
    if reference == BASE_CHECKPOINT:
        return BASE
    config = published_json(reference, "config.json")
    for key, constant in MODEL_CONSTANTS.items():
        if config.get(key) != constant:
            raise CheckpointError(
                f"checkpoint {reference} has {key} = {config.get(key)!r}, where Timer has {constant!r}"
            )
    for key in MODEL_KEYS.values():
        if type(config.get(key)) is not int:
            raise CheckpointError(f"checkpoint {reference} has {key} = {config.get(key)!r}, where Timer has a number")
    return {name: config[key] for name, key in MODEL_KEYS.items()}
