"""Registers the modality and the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, ModalitySpec, hookimpl


@hookimpl
def modrwkv_modalities() -> list[ModalitySpec]:
    """Return the modality ``video``."""
    return [
        ModalitySpec(
            api=1,
            name="video",
            summary="videos",
            implementation="modrwkv_video.modality:VideoModality",
            suffixes=(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif"),
        )
    ]


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``video_frames``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="video_frames",
            summary="frames of a video, each by an image encoder, averaged over windows of time",
            config="modrwkv_video.config:VideoFramesConfig",
            implementation="modrwkv_video.encoder:VideoFramesEncoder",
            processor="modrwkv_video.processor:VideoFramesProcessor",
            modality="video",
            paper="Video-ChatGPT, arXiv 2306.05424",
        )
    ]
