"""From a manifest to a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble


def test_an_adapter_begins_where_text_embeddings_lie_if_asked(tiny_manifest: Callable[..., Path]) -> None:
    def adapter(init: str, pretrained: bool) -> tuple[Any, torch.Tensor]:
        override = f"modalities.series.adapter.init={init}"
        torch.manual_seed(0)
        model = assemble(load_manifest(tiny_manifest(), [override]), pretrained=pretrained)
        return model.parts()["series.adapter"], model.backbone.embed(torch.arange(model.tokenizer.vocab_size))

    matched, embeddings = adapter("matched", pretrained=True)
    torch.testing.assert_close(matched.pre_norm.bias.data, embeddings.mean(0))
    assert matched.mlp[2].weight.std() < 1e-4
    for unmatched, _ in (adapter("unit", pretrained=True), adapter("matched", pretrained=False)):
        assert unmatched.mlp[2].weight.std() > 0.05
