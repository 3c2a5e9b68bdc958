"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``max_grad_norm``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="clip",
            summary="CLIP vision transformer, penultimate or last layer, one vector for each patch",
            config="modrwkv_clip.config:CLIPConfig",
            implementation="modrwkv_clip.encoder:CLIPEncoder",
            processor="modrwkv_clip.processor:CLIPProcessor",
            modality="image",
            paper="Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020",
        )
    ]
