from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modrwkv_core.evaluation.summary import summarize
from modrwkv_core.manifest.load import load_manifest


def test_a_summary_names_all_parts_and_phases(tiny_manifest: Callable[..., Path]) -> None:
    phases = [
        {"name": "align", "train": ["encoder", "adapter"], "lr": 1e-3, "epochs": 1},
        {"name": "finetune", "train": ["backbone"], "lr": 1e-3, "steps": 6},
    ]
    manifest = load_manifest(tiny_manifest(phases=phases)).manifest
    speeds = [{"tokens_per_second": 1000.0 * n, "data_wait": 0.01 * n, "peak_memory_gib": 2.0} for n in (1, 3, 2)]
    metrics = [{"step": 1, "phase": "align", **line} for line in speeds] + [{"step": 4, "phase": "finetune"}]
    assert summarize(manifest, 1234567, metrics) == {
        "backbone": "rwkv7, hidden size 64",
        "series": "wavenet → conv1d → mlp",
        "heads": "lm, forecast",
        "parameters": "1,234,567",
        "training": "align, 1 epoch of encoder, adapter; finetune, 6 steps of backbone",
        "speed of align": "2,000 tokens/s, waiting for data 2%, 2.0 GiB",
    }
