"""Registers the encoders; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoders ``siglip2`` and ``siglip2_naflex``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="siglip2",
            summary="SigLIP 2 vision transformer, fixed resolution, one vector for each patch",
            config="modrwkv_siglip2.config:Siglip2Config",
            implementation="modrwkv_siglip2.encoder:Siglip2Encoder",
            processor="modrwkv_siglip2.processor:Siglip2Processor",
            modality="image",
            paper="SigLIP 2: Multilingual Vision-Language Encoders, arXiv 2502.14786",
        ),
        ComponentSpec(
            api=1,
            kind="encoder",
            name="siglip2_naflex",
            summary="SigLIP 2 vision transformer, native aspect ratio, one vector for each patch",
            config="modrwkv_siglip2.naflex.config:Siglip2NaflexConfig",
            implementation="modrwkv_siglip2.naflex.encoder:Siglip2NaflexEncoder",
            processor="modrwkv_siglip2.naflex.processor:Siglip2NaflexProcessor",
            modality="image",
            paper="SigLIP 2: Multilingual Vision-Language Encoders, arXiv 2502.14786, section 2.4.2",
        ),
    ]
