"""What is known of checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.interfaces.pretrained_config import ConfigFile

__all__ = ["CONFIG_FILES", "KNOWN_CHECKPOINTS", "ROPE_TYPES"]

ROPE_TYPES: Final = ("default", "linear", "llama3")
"""Kinds of rotary positions that do not depend on the longest sequence."""

_QWEN25: Final[dict[str, Any]] = {
    "architecture": "qwen2",
    "head_dim": 128,
    "rope_theta": 1e6,
    "rope_scaling": {},
    "rms_norm_eps": 1e-6,
    "tie_embeddings": True,
    "vocab": 151_936,
}
_QWEN25_0B5: Final = {
    **_QWEN25,
    "hidden_size": 896,
    "num_layers": 24,
    "num_heads": 14,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 4864,
}
_QWEN25_1B5: Final = {
    **_QWEN25,
    "hidden_size": 1536,
    "num_layers": 28,
    "num_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
}
_QWEN3_0B6: Final = {
    **_QWEN25,
    "architecture": "qwen3",
    "hidden_size": 1024,
    "num_layers": 28,
    "num_heads": 16,
    "num_key_value_heads": 8,
    "intermediate_size": 3072,
}
_SMOLLM2_360M: Final = {
    "architecture": "llama",
    "hidden_size": 960,
    "num_layers": 32,
    "num_heads": 15,
    "num_key_value_heads": 5,
    "head_dim": 64,
    "intermediate_size": 2560,
    "rope_theta": 1e5,
    "rope_scaling": {},
    "rms_norm_eps": 1e-5,
    "tie_embeddings": True,
    "vocab": 49_152,
}

KNOWN_CHECKPOINTS: Final = {
    "Qwen/Qwen2.5-0.5B": _QWEN25_0B5,
    "Qwen/Qwen2.5-0.5B-Instruct": _QWEN25_0B5,
    "Qwen/Qwen2.5-1.5B": _QWEN25_1B5,
    "Qwen/Qwen3-0.6B-Base": _QWEN3_0B6,
    "Qwen/Qwen3-0.6B": _QWEN3_0B6,
    "HuggingFaceTB/SmolLM2-360M": _SMOLLM2_360M,
}
"""Models of the size of RWKV-7 0.4B and 1.5B."""


def _prepared(content: dict[str, Any]) -> dict[str, Any]:
    """Bring the rotary positions of older and newer files into one form, and fill in sizes that follow from others."""
    rope = dict(content.get("rope_parameters") or content.get("rope_scaling") or {})
    theta = rope.pop("rope_theta", content.get("rope_theta", 10_000.0))
    kind = rope.pop("type", None)
    kind = rope.pop("rope_type", kind) or "default"
    heads, hidden = content.get("num_attention_heads"), content.get("hidden_size")
    derived: dict[str, Any] = {
        "rope_theta": theta,
        "rope_scaling": {} if kind == "default" else {"rope_type": kind, **rope},
        "num_key_value_heads": content.get("num_key_value_heads") or heads,
        "head_dim": content.get("head_dim"),
    }
    if derived["head_dim"] is None and isinstance(heads, int) and isinstance(hidden, int) and heads:
        derived["head_dim"] = hidden // heads
    return content | derived


CONFIG_FILES: Final = (
    ConfigFile(
        names=("config.json",),
        keys={
            "architecture": "model_type",
            "hidden_size": "hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "num_key_value_heads": "num_key_value_heads",
            "head_dim": "head_dim",
            "intermediate_size": "intermediate_size",
            "rope_theta": "rope_theta",
            "rope_scaling": "rope_scaling",
            "rms_norm_eps": "rms_norm_eps",
            "tie_embeddings": "tie_word_embeddings",
            "vocab": "vocab_size",
        },
        defaults={"rms_norm_eps": 1e-6, "tie_embeddings": False},
        constants={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "use_sliding_window": False},
        model_types=("llama", "qwen2", "qwen3"),
        prepare=_prepared,
    ),
)
