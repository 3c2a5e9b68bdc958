"""What is known of Timer checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from typing import Final

from modrwkv_core.interfaces.pretrained_config import ConfigFile

__all__ = ["KNOWN_CHECKPOINTS", "MODEL_FILE"]

KNOWN_CHECKPOINTS: Final = {
    "thuml/timer-base-84m": {
        "patch": 96,
        "hidden_size": 1024,
        "num_layers": 8,
        "num_heads": 8,
        "intermediate_size": 2048,
    }
}
"""The Timer of the ModRWKV paper."""

MODEL_FILE: Final = ConfigFile(
    names=("config.json",),
    keys={
        "patch": "input_token_len",
        "hidden_size": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
    },
    constants={"hidden_act": "silu", "rope_theta": 10_000},
    model_types=("timer",),
)
