"""Registers the encoders; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoders ``fusion`` and ``audio_fusion``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="fusion",
            summary="several image encoders on one picture, joined on channels or in length",
            config="modrwkv_fusion.config:ImageFusionConfig",
            implementation="modrwkv_fusion.encoder:FusionEncoder",
            processor="modrwkv_fusion.processor:FusionProcessor",
            modality="image",
            paper="VisualRWKV-HD and UHD, arXiv 2410.11665",
        ),
        ComponentSpec(
            api=1,
            kind="encoder",
            name="audio_fusion",
            summary="several audio encoders on one recording, joined on channels or in length",
            config="modrwkv_fusion.config:AudioFusionConfig",
            implementation="modrwkv_fusion.encoder:FusionEncoder",
            processor="modrwkv_fusion.processor:FusionProcessor",
            modality="audio",
        ),
    ]
