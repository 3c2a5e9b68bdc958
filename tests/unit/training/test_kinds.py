"""The core's own optimizer, fine-tuning method and logger keep the contracts of their kinds."""

from __future__ import annotations

from modrwkv_core.testing import FinetuningContract, LoggerContract, OptimizerContract


class TestAdamW(OptimizerContract):
    plugin = "modrwkv_core.builtin"
    name = "adamw"
    configs = ({}, {"betas": [0.8, 0.95], "eps": 1e-6})


class TestFull(FinetuningContract):
    plugin = "modrwkv_core.builtin"
    name = "full"


class TestMetricsLog(LoggerContract):
    plugin = "modrwkv_core.builtin"
