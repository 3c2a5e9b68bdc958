"""What the distribution provides; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the components."""
    return [
        ComponentSpec(
            api=1,
            kind="finetuning",
            name="lora",
            summary="low-rank matrices beside the linear layers of backbone and encoders learn",
            config="modrwkv_lora.config:LoRAConfig",
            implementation="modrwkv_lora.finetuning:LoRAFinetuning",
            paper="LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685",
        )
    ]
