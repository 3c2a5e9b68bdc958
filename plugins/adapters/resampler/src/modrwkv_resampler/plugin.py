"""Registers the adapter; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the adapter ``resampler``."""
    return [
        ComponentSpec(
            api=1,
            kind="adapter",
            name="resampler",
            summary="learned queries gather a fixed number of tokens by cross-attention",
            config="modrwkv_resampler.config:ResamplerConfig",
            implementation="modrwkv_resampler.adapter:ResamplerAdapter",
            paper="Flamingo, arXiv 2204.14198",
        )
    ]
