"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``wavenet``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="wavenet",
            summary="causal, dilated, gated convolutions over a series, from scratch",
            config="modrwkv_wavenet.config:WaveNetConfig",
            implementation="modrwkv_wavenet.encoder:WaveNetEncoder",
            processor="modrwkv_wavenet.processor:WaveNetProcessor",
            modality="series",
            paper="WaveNet: A Generative Model for Raw Audio, arXiv 1609.03499",
        )
    ]
