"""What the distribution provides; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the components."""
    return [
        ComponentSpec(
            api=1,
            kind="optimizer",
            name="adamw8bit",
            summary="AdamW whose averages take 8 bits each, by bitsandbytes",
            config="modrwkv_adamw8bit.config:AdamW8bitConfig",
            implementation="modrwkv_adamw8bit.optimizer:AdamW8bit",
            paper="8-bit Optimizers via Block-wise Quantization, arXiv 2110.02861",
        )
    ]
