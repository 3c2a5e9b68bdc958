"""Tiny backbones with random weights, whole pipelines in seconds, and checks in processes of their own."""

from __future__ import annotations

import gc
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.inference.session import Session
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble

ROOT = Path(__file__).parents[1]

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Spare garbage collections, and the processes that tests fork, the million objects of imports and collection."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests measure out of the user's cache, also in the processes that they start."""
    os.environ["MODRWKV_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def _write_manifest(folder: Path, **sections: Any) -> Path:
    folder.mkdir(exist_ok=True)
    _write_data(folder)
    manifest = {
        "modrwkv": 1,
        "name": "tiny",
        "tokenizer": {"type": "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": 2, "hidden_size": 64},
        "modalities": {
            "series": {
                "encoder": {"type": "wavenet", "hidden_size": 8, "num_layers": 3},
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
                    "context_length": 24,
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


@pytest.fixture(scope="module")
def write_manifest() -> Iterator[Callable[..., Path]]:
    """Write into a folder what ``tiny_manifest`` does, so that the tests of a module can share what is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODRWKV_DATA", raising=False)
        yield _write_manifest


@pytest.fixture
def tiny_manifest(write_manifest: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a manifest of a two-layer model that reads, looks at series and forecasts, and its data beside it.

    Keyword arguments replace sections.
    """
    return partial(write_manifest, tmp_path / "project")


@pytest.fixture
def session(tiny_manifest: Callable[..., Path], tmp_path: Path) -> Session:
    """A session of a model with noise in every parameter."""
    torch.manual_seed(0)
    loaded = load_manifest(tiny_manifest())
    model = assemble(loaded, pretrained=False).eval()
    for parameter in model.backbone.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return Session(loaded, model, tmp_path)


def _noisy_backbone(vocab: int, *, num_layers: int, hidden_size: int, **sizes: Any) -> RWKV7:
    """Make an RWKV-7 with noise that bfloat16 holds exactly: the recipe's zeros would hide half of the model."""
    torch.manual_seed(num_layers * hidden_size)
    model = RWKV7(RWKV7Config(num_layers=num_layers, hidden_size=hidden_size, **sizes), vocab)
    for parameter in model.parameters():
        fan_in = parameter.shape[-1] if parameter.dim() == 2 else 10
        noisy = parameter.detach() + torch.randn_like(parameter) / fan_in**0.5
        parameter.data.copy_(noisy.bfloat16())
    return model


@pytest.fixture
def make_model() -> Callable[..., RWKV7]:
    """Make a backbone whose every parameter matters, the same for the same sizes."""

    def make(
        num_layers: int = 2,
        hidden_size: int = 16,
        head_dim: int = 8,
        vocab: int = 32,
        kernel: str = "auto",
        dtype: torch.dtype = torch.float64,
    ) -> RWKV7:
        return _noisy_backbone(
            vocab, num_layers=num_layers, hidden_size=hidden_size, head_dim=head_dim, kernel=kernel
        ).to(dtype)

    return make


@pytest.fixture(scope="session")
def make_backbone() -> Callable[..., dict[str, Tensor]]:
    """Make the official tensors of such a backbone of ranks 8, 10, 6 and 12, in bfloat16."""

    def make(num_layers: int = 2, hidden_size: int = 128, vocab: int = 96, head_dim: int = 64) -> dict[str, Tensor]:
        ranks = {"decay_low_rank_dim": 8, "a_low_rank_dim": 10, "v_low_rank_dim": 6, "gate_low_rank_dim": 12}
        model = _noisy_backbone(
            vocab, num_layers=num_layers, hidden_size=hidden_size, head_dim=head_dim, intermediate_size=160, **ranks
        )
        return {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}

    return make


@pytest.fixture
def run_check() -> Callable[..., Any]:
    """Run a script of the repository in a process of its own and return the judgement that it prints."""

    def run(script: str, *arguments: str, **environment: str) -> Any:
        finished = subprocess.run(
            [sys.executable, str(ROOT / script), *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(finished.stdout)

    return run
