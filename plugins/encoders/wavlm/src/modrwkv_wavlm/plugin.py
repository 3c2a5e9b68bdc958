"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``wavlm``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="wavlm",
            summary="WavLM speech model, 50 vectors for each second of sound",
            config="modrwkv_wavlm.config:WavLMConfig",
            implementation="modrwkv_wavlm.encoder:WavLMEncoder",
            processor="modrwkv_wavlm.processor:WavLMProcessor",
            modality="audio",
            paper="WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing, arXiv 2110.13900",
        )
    ]
