"""Registers the encoders; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl

PAPER = "Conformer: Convolution-augmented Transformer for Speech Recognition, arXiv 2005.08100"


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoders ``conformer`` and ``conformer_features``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="conformer",
            summary="recordings, by a log-mel spectrogram and a Conformer, from scratch",
            config="modrwkv_conformer.config:ConformerConfig",
            implementation="modrwkv_conformer.encoder:ConformerEncoder",
            processor="modrwkv_conformer.processor:LogMelProcessor",
            modality="audio",
            paper=PAPER,
        ),
        ComponentSpec(
            api=1,
            kind="encoder",
            name="conformer_features",
            summary="ready-made feature frames, by a Conformer, from scratch",
            config="modrwkv_conformer.config:ConformerFeaturesConfig",
            implementation="modrwkv_conformer.encoder:ConformerEncoder",
            processor="modrwkv_conformer.processor:FramesProcessor",
            modality="features",
            paper=PAPER,
        ),
    ]
