"""The backbones and heads of the core."""

from __future__ import annotations

from typing import Final

from modrwkv_core.plugin import ComponentSpec

__all__ = ["COMPONENTS"]

COMPONENTS: Final = (
    ComponentSpec(
        api=1,
        kind="backbone",
        name="rwkv7",
        summary="RWKV-7: a recurrent language model with constant-size state",
        config="modrwkv_core.backbones.rwkv7.config:RWKV7Config",
        implementation="modrwkv_core.backbones.rwkv7.model:RWKV7",
        paper="RWKV-7 'Goose' with Expressive Dynamic State Evolution, arXiv 2503.14456",
    ),
    ComponentSpec(
        api=1,
        kind="head",
        name="lm",
        summary="next token, by the backbone's own output projection",
        config="modrwkv_core.heads.config:LanguageModelConfig",
        implementation="modrwkv_core.heads.lm:LanguageModelHead",
    ),
    ComponentSpec(
        api=1,
        kind="head",
        name="forecast",
        summary="the next points of a series, in the units of the input",
        config="modrwkv_core.heads.config:ForecastConfig",
        implementation="modrwkv_core.heads.forecast:ForecastHead",
        paper="instance normalization: RevIN, Kim et al., ICLR 2022",
    ),
    ComponentSpec(
        api=1,
        kind="head",
        name="ctc",
        summary="the words of a medium, aligned with its vectors (connectionist temporal classification)",
        config="modrwkv_core.heads.config:CtcConfig",
        implementation="modrwkv_core.heads.ctc:CtcHead",
        paper="Connectionist Temporal Classification, Graves et al., ICML 2006",
    ),
)
