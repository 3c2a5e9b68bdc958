from __future__ import annotations

from modrwkv_core.testing import FinetuningContract


class TestLoRA(FinetuningContract):
    plugin = "modrwkv_lora.plugin"
    name = "lora"
    configs = ({}, {"rank": 2, "alpha": 8.0, "dropout": 0.5, "targets": ["inp*"]})
