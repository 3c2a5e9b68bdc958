"""What is known of CLIP checkpoints without their weights, and where the files of others state it."""

from __future__ import annotations

from typing import Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import checkpoint_file, checkpoint_json
from modrwkv_core.interfaces.pretrained_config import ConfigFile, check_constants

__all__ = ["KNOWN_CHECKPOINTS", "MEAN", "MODEL_FILE", "STD", "check_processor"]

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
"""Mean of the training images' red, green and blue, where full scale is 1."""

STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation."""

BASE: Final = {"hidden_size": 768, "num_layers": 12, "num_heads": 12, "intermediate_size": 3072}
LARGE: Final = {"hidden_size": 1024, "num_layers": 24, "num_heads": 16, "intermediate_size": 4096}

KNOWN_CHECKPOINTS: Final = {
    "openai/clip-vit-base-patch32": {"image_size": 224, "patch_size": 32, **BASE},
    "openai/clip-vit-base-patch16": {"image_size": 224, "patch_size": 16, **BASE},
    "openai/clip-vit-large-patch14": {"image_size": 224, "patch_size": 14, **LARGE},
    "openai/clip-vit-large-patch14-336": {"image_size": 336, "patch_size": 14, **LARGE},
}
"""OpenAI's models (CLIP, table 20)."""

MODEL_FILE: Final = ConfigFile(
    names=("config.json",),
    keys={
        "image_size": "image_size",
        "patch_size": "patch_size",
        "hidden_size": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "intermediate_size": "intermediate_size",
    },
    defaults={"image_size": 224, "patch_size": 32, **BASE},
    constants={"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_channels": 3},
    # The oldest files hold the sizes under a second name, which upstream prefers to the first.
    sections=("vision_config_dict", "vision_config"),
    model_types=("clip", "clip_vision_model"),
)

PROCESSOR_FILES: Final = ("preprocessor_config.json", "processor_config.json")

PROCESSOR_CONSTANTS: Final = {
    "do_resize": True,
    "do_center_crop": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": 3,
    "image_mean": list(MEAN),
    "image_std": list(STD),
}


def check_processor(reference: str, image_size: int) -> None:
    """Refuse a checkpoint whose own processor, if it has one, makes other pixels than CLIP's.

    Args:
        reference: The checkpoint.
        image_size: Height and width in pixels that its model reads.

    Raises:
        CheckpointError: Names the first key that differs.
    """
    if checkpoint_file(reference, *PROCESSOR_FILES) is None:
        return
    content = checkpoint_json(reference, *PROCESSOR_FILES)
    processor = content.get("image_processor", content)
    check_constants(processor, PROCESSOR_CONSTANTS, reference)
    squares = {
        "size": ({"shortest_edge": image_size}, image_size),
        "crop_size": ({"height": image_size, "width": image_size}, image_size),
    }
    for key, accepted in squares.items():
        if key in processor and processor[key] not in accepted:
            raise CheckpointError(
                f"checkpoint {reference} has {key} = {processor[key]!r}, but its model reads {image_size} pixels",
                hint="correct the processor's configuration, or name another checkpoint",
            )
