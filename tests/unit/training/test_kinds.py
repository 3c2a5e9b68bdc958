"""The core's own optimizers, schedulers, fine-tuning methods and logger keep the contracts of their kinds."""

from __future__ import annotations

from modrwkv_core.testing import FinetuningContract, LoggerContract, OptimizerContract, SchedulerContract


class TestAdamW(OptimizerContract):
    plugin = "modrwkv_core.builtin"
    name = "adamw"
    configs = ({}, {"betas": [0.8, 0.95], "eps": 1e-6})


class TestFull(FinetuningContract):
    plugin = "modrwkv_core.builtin"
    name = "full"


class TestMetricsLog(LoggerContract):
    plugin = "modrwkv_core.builtin"


class TestMuon(OptimizerContract):
    plugin = "modrwkv_core.builtin"
    name = "muon"
    configs = ({}, {"adamw": ["*"], "betas": [0.8, 0.95]}, {"momentum": 0.9, "adamw": ["adapter.0.*"]})


class TestConstant(SchedulerContract):
    plugin = "modrwkv_core.builtin"
    name = "constant"
    configs = ({}, {"warmup_steps": 20})


class TestWSD(SchedulerContract):
    plugin = "modrwkv_core.builtin"
    name = "wsd"
    configs = ({}, {"decay": 0.0}, {"decay": 1.0, "shape": "sqrt"}, {"warmup_steps": 400, "min_lr_ratio": 0.1})


class TestState(FinetuningContract):
    plugin = "modrwkv_core.builtin"
    name = "state"
