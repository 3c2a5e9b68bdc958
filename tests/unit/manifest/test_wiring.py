from __future__ import annotations

import pytest

from modrwkv_core.errors import WiringError
from modrwkv_core.manifest.wiring import Link, check_wiring


def test_widths_and_lengths_are_walked_from_the_encoder_to_the_backbone(load):
    image, audio = check_wiring(load())
    assert image.modality == "image"
    assert image.items == (576,)
    assert image.links == (
        Link("encoder", "eye", 8, (576,)),
        Link("compressor", "pool", 8, (288,)),
        Link("adapter", "screw", 16, (288,)),
    )
    assert audio.items == (100, 1_000, 10_000, 100_000)
    assert audio.links == (
        Link("encoder", "ear", 12, (0, 3, 31, 312)),
        Link("adapter", "glue", 16, (0, 3, 31, 312)),
    )


def test_a_model_of_text_alone_has_no_chains(load, text):
    assert check_wiring(load("phases.align.train=[backbone]", text=_without(text, "modalities", "data"))) == ()


def test_a_backbone_with_enough_rows_fits(load):
    check_wiring(load("backbone.rows=100"))


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        (
            ["modalities.audio.encoder={type: eye}"],
            "command line: modalities.audio.encoder: encoder 'eye' (toys) reads 'image', "
            "but stands under the modality 'audio'",
            "encoders of 'audio': ear",
        ),
        (
            ["modalities.audio.augmentations=[{type: mask}, {type: blur}]"],
            "command line: modalities.audio.augmentations.1: augmentation 'blur' (toys) changes 'image', "
            "but stands under the modality 'audio'",
            "augmentations for 'audio': mask",
        ),
        (
            ["modalities.image.compressor.size=1000"],
            "toy.yaml:5: modalities.image: compressor 'pool' (toys) leaves nothing of the 576 features that "
            "encoder 'eye' (toys) gives for an item of its usual length 576",
            "compress less",
        ),
        (
            ["modalities.audio.compressor={type: pool, size: 100000000}"],
            "toy.yaml:9: modalities.audio: compressor 'pool' (toys) leaves nothing of the 52428 features that "
            "encoder 'ear' (toys) gives for an item of length 16777216",
            "compress less",
        ),
        (
            ["modalities.image.encoder.patches=0"],
            "toy.yaml:5: modalities.image: encoder 'eye' (toys) gives no features for an item of its usual length 0",
            None,
        ),
        (
            ["backbone.rows=99"],
            "default: tokenizer: tokenizer 'world' (toys) has 100 ids, but the embedding of "
            "backbone 'backbone' (toys) has 99 rows",
            "use the tokenizer that the backbone was trained with",
        ),
        (
            ["heads.asked={type: ask, modality: smell}"],
            "command line: heads.asked: head 'ask' (toys) answers queries about smell, but the model has these "
            "modalities: image, audio",
            "add modalities.smell",
        ),
        (
            ["backbone.hidden_size=-1"],
            "toy.yaml:3: backbone: a backbone cannot be -1 wide",
            "give a positive width",
        ),
    ],
)
def test_components_that_do_not_fit(load, overrides, message, hint):
    loaded = load(*overrides)
    with pytest.raises(WiringError) as caught:
        check_wiring(loaded)
    assert caught.value.message == message
    assert caught.value.hint is None if hint is None else hint in caught.value.hint


def _without(text: str, first: str, last: str) -> str:
    """Drop the sections from ``first`` up to ``last``."""
    return text[: text.index(f"{first}:")] + text[text.index(f"{last}:") :].replace("compressor, adapter, ", "")
