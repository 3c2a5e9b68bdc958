"""Registers the sources; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the sources ``aishell``, ``easy_vqa``, ``fsdd``, ``librispeech``, ``photo_grid`` and ``photo_stream``."""
    return [
        ComponentSpec(
            api=1,
            kind="source",
            name="aishell",
            summary="Aishell-1: Mandarin speech and its transcripts",
            config="modrwkv_datasets.config:AishellConfig",
            implementation="modrwkv_datasets.aishell:AishellSource",
            paper="AISHELL-1, arXiv 1709.05522",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="easy_vqa",
            summary="easy-VQA: questions about images of colored shapes",
            config="modrwkv_datasets.config:EasyVqaConfig",
            implementation="modrwkv_datasets.easy_vqa:EasyVqaSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="fsdd",
            summary="Free Spoken Digit Dataset: which digit is spoken?",
            config="modrwkv_datasets.config:FsddConfig",
            implementation="modrwkv_datasets.fsdd:FsddSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="librispeech",
            summary="LibriSpeech: English speech and its transcripts",
            config="modrwkv_datasets.config:LibriSpeechConfig",
            implementation="modrwkv_datasets.librispeech:LibriSpeechSource",
            paper="Librispeech, Panayotov et al., ICASSP 2015",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="photo_grid",
            summary="questions about single photographs and squares of four, such as CIFAR-10's",
            config="modrwkv_datasets.config:PhotoGridConfig",
            implementation="modrwkv_datasets.photo_grid:PhotoGridSource",
        ),
        ComponentSpec(
            api=1,
            kind="source",
            name="photo_stream",
            summary="questions about streams of shuffled photographs, such as CIFAR-10's",
            config="modrwkv_datasets.config:PhotoStreamConfig",
            implementation="modrwkv_datasets.photo_stream:PhotoStreamSource",
        ),
    ]
