"""What is known of published CLIP checkpoints without their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import published_file, published_json

__all__ = ["MEAN", "PAPER_CHECKPOINT", "STD", "published_sizes"]

PAPER_CHECKPOINT: Final = "openai/clip-vit-large-patch14-336"
"""The CLIP of the ModRWKV paper (its section 3), and of LLaVA."""

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
"""Mean of the training pictures' red, green and blue, where full scale is 1."""

STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation."""

Accepted: TypeAlias = Mapping[str, Sequence[Any]]
"""What a key of a configuration file may say; the first is the usual one."""

BASE: Final = {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072}
LARGE: Final = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096}

PUBLISHED: Final = {
    "openai/clip-vit-base-patch32": {"image_size": 224, "patch_size": 32, **BASE},
    "openai/clip-vit-base-patch16": {"image_size": 224, "patch_size": 16, **BASE},
    "openai/clip-vit-large-patch14": {"image_size": 224, "patch_size": 14, **LARGE},
    "openai/clip-vit-large-patch14-336": {"image_size": 336, "patch_size": 14, **LARGE},
}
"""Sizes of OpenAI's own models (CLIP, table 20)."""

MODEL_KEYS: Final = {
    "image_size": ("image_size", 224),
    "patch_size": ("patch_size", 32),
    "hidden_size": ("hidden_size", 768),
    "num_layers": ("num_hidden_layers", 12),
    "num_heads": ("num_attention_heads", 12),
    "intermediate_size": ("intermediate_size", 3072),
}
"""Our name of a size, its key in ``config.json``, and what its default there."""

MODEL_CONSTANTS: Final[Accepted] = {"hidden_act": ["quick_gelu"], "layer_norm_eps": [1e-5], "num_channels": [3]}

PROCESSOR_FILES: Final = ("preprocessor_config.json", "processor_config.json")

PROCESSOR_CONSTANTS: Final[Accepted] = {
    "do_resize": [True],
    "do_center_crop": [True],
    "do_rescale": [True],
    "do_normalize": [True],
    "resample": [3],
    "image_mean": [list(MEAN)],
    "image_std": [list(STD)],
}


def published_sizes(reference: str) -> dict[str, int]:
    """Return the sizes of a checkpoint's vision tower by the names that a configuration gives them.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file; OpenAI's own models need no file.

    Raises:
        CheckpointError: ``config.json`` is missing, damaged, or not that of a CLIP; or the checkpoint's own processor
            does something else than CLIP's.
    """
    if reference in PUBLISHED:
        return PUBLISHED[reference]
    config = published_json(reference, "config.json")
    if config.get("model_type") not in ("clip", "clip_vision_model"):
        raise CheckpointError(
            f"checkpoint {reference} is a {config.get('model_type')!r}, not a CLIP",
            hint=f"name a checkpoint such as {PAPER_CHECKPOINT}",
        )
    # The oldest files hold the sizes under a second name, which upstream prefers to the first.
    vision = config.get("vision_config_dict") or config.get("vision_config", config)
    _require(vision, MODEL_CONSTANTS, reference)
    sizes = {name: vision.get(key, default) for name, (key, default) in MODEL_KEYS.items()}
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise CheckpointError(f"checkpoint {reference} has {MODEL_KEYS[name][0]} = {size!r}, not a positive number")
    if published_file(reference, *PROCESSOR_FILES):
        processor = published_json(reference, *PROCESSOR_FILES)
        side = sizes["image_size"]
        square: Accepted = {
            "size": [{"shortest_edge": side}, side],
            "crop_size": [{"height": side, "hidden_size": side}, side],
        }
        _require(processor.get("image_processor", processor), {**PROCESSOR_CONSTANTS, **square}, reference)
    return sizes


def _require(found: Mapping[str, Any], accepted: Accepted, reference: str) -> None:
    for key, values in accepted.items():
        if key in found and found[key] not in values:
            raise CheckpointError(f"checkpoint {reference} has {key} = {found[key]!r}, where CLIP has {values[0]!r}")
