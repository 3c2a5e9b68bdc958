"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``timm``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="timm",
            summary="any vision backbone of timm by name, one vector for each place of its grid",
            config="modrwkv_timm.config:TimmConfig",
            implementation="modrwkv_timm.encoder:TimmEncoder",
            processor="modrwkv_timm.processor:TimmProcessor",
            modality="image",
        )
    ]
