"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``features``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="features",
            summary="ready-made feature arrays, by a linear map or strided convolutions, from scratch",
            config="modrwkv_features.config:FeaturesConfig",
            implementation="modrwkv_features.encoder:FeaturesEncoder",
            processor="modrwkv_features.processor:FeaturesProcessor",
            modality="features",
        )
    ]
