"""What is known of checkpoints without their weights, and where the files of others state it."""

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

__all__ = ["ARCHITECTURES", "CONFIG_FILES", "KNOWN_CHECKPOINTS"]

ARCHITECTURES: Final = ("wav2vec2", "hubert", "data2vec-audio")

PLAIN: Final[dict[str, Any]] = {"position_layers": 1, "projection_norm": True, "adapter_dim": 0}
"""What only some checkpoints have otherwise."""


def _prepare(content: dict[str, Any]) -> dict[str, Any]:
    """Give data2vec's configuration the keys of the others: it has several convolutions that encode positions."""
    if content.get("model_type") != "data2vec-audio":
        # JSON's null means that there are no adapters.
        return {**content, "position_layers": 1, "adapter_attn_dim": content.get("adapter_attn_dim") or 0}
    return {
        **content,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": False,
        "position_layers": content.get("num_conv_pos_embeddings", 5),
        "num_conv_pos_embeddings": content.get("conv_pos_kernel_size", 19),
    }


def _known(architecture: str, sizes: dict[str, Any], **others: Any) -> dict[str, Any]:
    # The converters of transformers write do_normalize for all of these.
    return {**PLAIN, **sizes, "architecture": architecture, "rate": 16_000, "normalize": True, **others}


def _huge(hidden_size: int) -> dict[str, Any]:
    return {"hidden_size": hidden_size, "num_layers": 48, "num_heads": 16, "intermediate_size": 4 * hidden_size}


LARGE_GROUP: Final = {**LARGE_SIZES, "conv_norm": "group", "norm_first": False}

KNOWN_CHECKPOINTS: Final = {
    "facebook/wav2vec2-base": _known("wav2vec2", BASE_SIZES),
    "facebook/wav2vec2-base-960h": _known("wav2vec2", BASE_SIZES),
    "facebook/wav2vec2-large": _known("wav2vec2", LARGE_GROUP),
    "facebook/wav2vec2-large-lv60": _known("wav2vec2", LARGE_SIZES, conv_bias=True),
    "facebook/wav2vec2-large-xlsr-53": _known("wav2vec2", LARGE_SIZES, conv_bias=True),
    "facebook/wav2vec2-xls-r-300m": _known("wav2vec2", LARGE_SIZES, conv_bias=True),
    "facebook/wav2vec2-xls-r-1b": _known("wav2vec2", LARGE_SIZES, conv_bias=True, **_huge(1280)),
    "facebook/wav2vec2-xls-r-2b": _known("wav2vec2", LARGE_SIZES, conv_bias=True, **_huge(1920)),
    "facebook/hubert-base-ls960": _known("hubert", BASE_SIZES),
}
"""Meta's models of wav2vec 2.0, XLS-R and HuBERT (base)."""

CONFIG_FILES: Final = (
    ConfigFile(
        names=("config.json",),
        keys={
            **MODEL_KEYS,
            "architecture": "model_type",
            "position_layers": "position_layers",
            "projection_norm": "feat_proj_layer_norm",
            "adapter_dim": "adapter_attn_dim",
        },
        defaults={**BASE_SIZES, **PLAIN},
        constants={**MODEL_CONSTANTS, "conv_pos_batch_norm": False},
        model_types=ARCHITECTURES,
        prepare=_prepare,
    ),
    PREPROCESSOR_FILE,
)
