"""A tiny model that reads, looks at series and forecasts: whole pipelines in seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

torch.set_num_threads(1)


def _write_data(folder: Path) -> None:
    talks = [
        [
            {"role": "user", "content": f"Say {word} {count} times."},
            {"role": "assistant", "content": " ".join([word] * count)},
        ]
        for word in ("yes", "no", "so")
        for count in (1, 2, 3)
    ]
    (folder / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    rows = [f"{hour},{math.sin(hour / 4):.5f},{10 + 3 * math.cos(hour / 6):.5f}" for hour in range(200)]
    (folder / "waves.csv").write_text("hour,sine,cosine\n" + "\n".join(rows) + "\n")


@pytest.fixture
def tiny_manifest(tmp_path: Path) -> Callable[..., Path]:
    """Write a manifest of a two-layer model with one modality and its data; keyword arguments replace sections."""

    def write(**sections: Any) -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        _write_data(folder)
        manifest = {
            "modrwkv": 1,
            "name": "tiny",
            "tokenizer": {"type": "bytes"},
            "backbone": {"type": "rwkv7", "layers": 2, "width": 64},
            "modalities": {
                "series": {
                    "encoder": {"type": "wavenet", "width": 8, "layers": 3},
                    "compressor": {"type": "conv1d", "kernel": 4, "stride": 4},
                    "adapter": {"type": "mlp", "expansion": 1},
                }
            },
            "heads": {"lm": {"type": "lm"}, "forecast": {"type": "forecast", "horizon": 6}},
            "data": {
                "train": [
                    {"source": "chat", "path": "talks.jsonl"},
                    {
                        "source": "csv_windows",
                        "path": "waves.csv",
                        "columns": ["sine", "cosine"],
                        "look_back": 24,
                        "horizon": 6,
                        "stride": 30,
                        "repeat": 1.0,
                    },
                ],
                "batch_size": 4,
            },
            "phases": [
                {
                    "name": "align",
                    "train": ["encoder", "compressor", "adapter", "heads"],
                    "lr": 1e-3,
                    "steps": 4,
                    "log_every": 1,
                },
                {
                    "name": "finetune",
                    "train": ["adapter", "backbone", "heads"],
                    "lr": 1e-3,
                    "steps": 6,
                    "checkpoint_every": 2,
                    "log_every": 1,
                },
            ],
        }
        path = folder / "manifest.yaml"
        path.write_text(yaml.safe_dump(manifest | sections, sort_keys=False))
        return path

    return write
