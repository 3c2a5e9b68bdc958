"""The optimizers, schedulers and fine-tuning methods of the core."""

from __future__ import annotations

from typing import Final

from modrwkv_core.plugin import ComponentSpec

__all__ = ["COMPONENTS"]

COMPONENTS: Final = (
    ComponentSpec(
        api=1,
        kind="optimizer",
        name="adamw",
        summary="AdamW",
        config="modrwkv_core.training.config:AdamWConfig",
        implementation="modrwkv_core.training.adamw:AdamW",
        paper="Decoupled Weight Decay Regularization, Loshchilov & Hutter, ICLR 2019",
    ),
    ComponentSpec(
        api=1,
        kind="optimizer",
        name="muon",
        summary="Muon for hidden matrices, AdamW for all other parameters",
        config="modrwkv_core.training.config:MuonConfig",
        implementation="modrwkv_core.training.muon:Muon",
        paper="Muon, Jordan et al., 2024; scaled as in Muon is Scalable for LLM Training, arXiv 2502.16982",
    ),
    ComponentSpec(
        api=1,
        kind="scheduler",
        name="cosine",
        summary="linear warm-up, then half a cosine",
        config="modrwkv_core.training.config:CosineConfig",
        implementation="modrwkv_core.training.cosine:CosineScheduler",
        paper="SGDR, Loshchilov & Hutter, ICLR 2017",
    ),
    ComponentSpec(
        api=1,
        kind="scheduler",
        name="constant",
        summary="linear warm-up, then constant",
        config="modrwkv_core.training.config:ConstantConfig",
        implementation="modrwkv_core.training.constant:ConstantScheduler",
    ),
    ComponentSpec(
        api=1,
        kind="scheduler",
        name="wsd",
        summary="linear warm-up, constant, and a decay at the end",
        config="modrwkv_core.training.config:WSDConfig",
        implementation="modrwkv_core.training.wsd:WSDScheduler",
        paper="MiniCPM, arXiv 2404.06395",
    ),
    ComponentSpec(
        api=1,
        kind="finetuning",
        name="state",
        summary="of the backbone only the state that it begins with learns",
        config="modrwkv_core.training.config:StateConfig",
        implementation="modrwkv_core.training.state:StateFinetuning",
    ),
    ComponentSpec(
        api=1,
        kind="finetuning",
        name="full",
        summary="all parameters of the trained parts learn",
        config="modrwkv_core.training.config:FullConfig",
        implementation="modrwkv_core.training.full:FullFinetuning",
    ),
)
