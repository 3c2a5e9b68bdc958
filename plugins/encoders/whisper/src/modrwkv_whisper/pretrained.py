"""What is known of Whisper checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from typing import Any, Final

from modrwkv_core.interfaces.pretrained_config import ConfigFile

__all__ = ["KNOWN_CHECKPOINTS", "MODEL_FILE"]


def _sizes(hidden_size: int, num_layers: int, mel_bins: int = 80) -> dict[str, Any]:
    return {
        "mel_bins": mel_bins,
        "window": 1500,
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "num_heads": hidden_size // 64,
        "intermediate_size": 4 * hidden_size,
    }


KNOWN_CHECKPOINTS: Final = {
    **{f"openai/whisper-tiny{language}": _sizes(384, 4) for language in ("", ".en")},
    **{f"openai/whisper-base{language}": _sizes(512, 6) for language in ("", ".en")},
    **{f"openai/whisper-small{language}": _sizes(768, 12) for language in ("", ".en")},
    **{f"openai/whisper-medium{language}": _sizes(1024, 24) for language in ("", ".en")},
    **{f"openai/whisper-large{version}": _sizes(1280, 32) for version in ("", "-v2")},
    **{f"openai/whisper-large-v3{variant}": _sizes(1280, 32, 128) for variant in ("", "-turbo")},
}
"""OpenAI's models (Whisper, table 1); the third version of the large one reads more mel bins."""

MODEL_FILE: Final = ConfigFile(
    names=("config.json",),
    keys={
        "mel_bins": "num_mel_bins",
        "window": "max_source_positions",
        "hidden_size": "d_model",
        "num_layers": "encoder_layers",
        "num_heads": "encoder_attention_heads",
        "intermediate_size": "encoder_ffn_dim",
    },
    constants={"activation_function": "gelu", "scale_embedding": False},
    model_types=("whisper",),
)
