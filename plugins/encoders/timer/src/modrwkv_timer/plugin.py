"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``timer``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="timer",
            summary="Timer, a pretrained transformer over patches of a series",
            config="modrwkv_timer.config:TimerConfig",
            implementation="modrwkv_timer.encoder:TimerEncoder",
            processor="modrwkv_timer.processor:TimerProcessor",
            modality="series",
            paper="Timer: Generative Pre-trained Transformers Are Large Time Series Models, arXiv 2402.02368",
        )
    ]
