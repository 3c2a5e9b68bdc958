from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["adapter"], ("image.adapter", "audio.adapter")),
        (["image"], ("image.encoder", "image.compressor", "image.adapter")),
        (["heads", "audio.encoder"], ("audio.encoder", "heads.lm")),
        (["lm", "backbone", "backbone"], ("backbone", "heads.lm")),
        (["audio.compressor"], ()),
        ([], ()),
    ],
)
def test_words_name_parts_in_the_order_of_the_model(load, words, parts):
    assert load().manifest.select(words) == parts


def test_each_part_that_learns_has_its_own_learning_rate(load):
    manifest = load("phases.finetune.lr_multipliers={image: 0.5, audio.adapter: 4, backbone: 0}").manifest
    assert manifest.learning_rates(manifest.phases[1]) == {
        "image.compressor": 1e-5,
        "image.adapter": 1e-5,
        "audio.adapter": 8e-5,
        "backbone": 0.0,
    }
