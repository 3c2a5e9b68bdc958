"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``whisper``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="whisper",
            summary="Whisper's encoder, 50 vectors for each second of speech",
            config="modrwkv_whisper.config:WhisperConfig",
            implementation="modrwkv_whisper.encoder:WhisperEncoder",
            processor="modrwkv_whisper.processor:WhisperProcessor",
            modality="audio",
            paper="Robust Speech Recognition via Large-Scale Weak Supervision, arXiv 2212.04356",
        )
    ]
