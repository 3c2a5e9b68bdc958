"""Registers the sources; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the sources ``easy_vqa`` and ``fsdd``."""
    return [
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
    ]
