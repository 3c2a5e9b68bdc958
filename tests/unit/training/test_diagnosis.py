"""Why a modality has not emerged."""

from __future__ import annotations

from typing import Any

import pytest

from modrwkv_core.training.diagnosis import diagnose, warn_of_unused_modalities

SOUND = {
    "gradient_norm": 0.8,
    "gradient_norm/backbone": 0.7,
    "gradient_norm/audio.encoder": 0.2,
    "gradient_norm/audio.adapter": 0.3,
    "update_norm/audio.encoder": 1e-3,
    "update_norm/audio.adapter": 1e-3,
    "feature_norm/audio": 1.5,
}


def without(prefix: str) -> dict[str, float]:
    return {name: value for name, value in SOUND.items() if not name.startswith(prefix)}


@pytest.mark.parametrize(
    ("lines", "cause", "remedy"),
    [
        ([], "show none of it", "add a source with audio"),
        ([without("feature_norm/audio")], "show none of it", "add a source with audio"),
        ([without("gradient_norm/audio")], "none of its parts learns", r"`audio\.adapter`"),
        ([SOUND | {"feature_norm/audio": 50.0}], "50 times longer than text embeddings", "init: matched"),
        (
            [SOUND | {"feature_norm/audio": 50.0, "update_norm/backbone": 1e-2}],
            "50 times longer than text embeddings",
            "init: matched",
        ),
        # Fresh text embeddings are tiny: long features are no harm while they learn as the backbone does.
        ([SOUND | {"feature_norm/audio": 50.0, "update_norm/backbone": 1e-3}], "look sound", "captions"),
        ([SOUND | {"feature_norm/audio": 0.01}], "100 times shorter than text embeddings", "init: matched"),
        (
            [SOUND | {"gradient_norm/audio.encoder": 3e-4, "gradient_norm/audio.adapter": 4e-4}],
            "gradients vanish: they are 0.0006 of",
            r"lr_multipliers: \{audio: 10\}",
        ),
        ([SOUND | {"gradient_norm": 80.0, "gradient_norm/audio.adapter": 30.0}], "clipped to 1/80", "warmup_steps"),
        (
            [SOUND | {"update_norm/audio.encoder": 0.0, "update_norm/audio.adapter": 1e-8}],
            "its weights hardly move",
            "raise the learning rate",
        ),
        ([SOUND], "look sound", "begin with a phase of captions"),
        # One odd line among three is not the phase's.
        ([SOUND, SOUND | {"feature_norm/audio": 500.0}, SOUND], "look sound", "captions"),
    ],
)
def test_the_norms_name_a_cause_and_a_remedy(lines: list[dict[str, Any]], cause: str, remedy: str) -> None:
    metrics = {"valid/lm": 2.0, "valid_loss": 2.0, "modality_gain/image": 0.5, "modality_gain/audio": 0.001}
    expected = rf"after phase align the model does not use its audio: .* Likely cause: .*{cause}.* Remedy: .*{remedy}"
    with pytest.warns(UserWarning, match=expected) as caught:
        warn_of_unused_modalities("after phase align", metrics, 2.0, lines, 1.0)
    assert len(caught) == 1


def test_gradients_that_are_not_clipped_may_be_long() -> None:
    found = diagnose("audio", [SOUND | {"gradient_norm": 80.0, "gradient_norm/audio.adapter": 30.0}], None)
    assert "look sound" in found.cause
