"""Registers the augmentations; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the augmentations of sound."""
    return [
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="time_shift",
            summary="a recording moved earlier or later",
            config="modrwkv_audio_augmentations.config:TimeShiftConfig",
            implementation="modrwkv_audio_augmentations.waveforms:TimeShift",
            modality="audio",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="gain",
            summary="a recording made louder or quieter",
            config="modrwkv_audio_augmentations.config:GainConfig",
            implementation="modrwkv_audio_augmentations.waveforms:Gain",
            modality="audio",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="noise",
            summary="white noise below a recording",
            config="modrwkv_audio_augmentations.config:NoiseConfig",
            implementation="modrwkv_audio_augmentations.waveforms:Noise",
            modality="audio",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="speed",
            summary="a recording played faster or slower",
            config="modrwkv_audio_augmentations.config:SpeedConfig",
            implementation="modrwkv_audio_augmentations.waveforms:Speed",
            modality="audio",
            paper="Audio Augmentation for Speech Recognition, Ko et al., Interspeech 2015",
        ),
        ComponentSpec(
            api=1,
            kind="augmentation",
            name="spec_augment",
            summary="frames and bands of a log-mel spectrogram masked",
            config="modrwkv_audio_augmentations.config:SpecAugmentConfig",
            implementation="modrwkv_audio_augmentations.spectrograms:SpecAugment",
            modality="audio",
            paper="SpecAugment, arXiv 1904.08779",
        ),
    ]
