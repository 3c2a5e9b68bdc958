"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``hf_audio``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="hf_audio",
            summary="wav2vec 2.0, HuBERT, data2vec and MMS, 50 vectors for each second of sound",
            config="modrwkv_hf_audio.config:HFAudioConfig",
            implementation="modrwkv_hf_audio.encoder:HFAudioEncoder",
            processor="modrwkv_hf_audio.processor:HFAudioProcessor",
            modality="audio",
            paper="wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations, arXiv 2006.11477",
        )
    ]
