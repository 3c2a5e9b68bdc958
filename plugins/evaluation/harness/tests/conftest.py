"""Tiny runs, and environments in which the harnesses are installed beside this one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from modrwkv_core.cli.main import run_program

PROJECT = Path(__file__).parents[1]

TEXTS = ("the cat sat on the mat and", "a dog ran after the ball", "rain fell on the hill all day", "the cat ran")


@dataclass(frozen=True)
class HarnessEnvironment:
    """A virtual environment of a harness, which sees what is installed here behind its own packages."""

    python: Path

    def run(self, arguments: list[str | Path], folder: Path) -> str:
        """Run Python there, without a network, and return all that it prints."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
        settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_HOME": folder / "hf"}
        done = subprocess.run(
            [self.python, *arguments],
            cwd=folder,
            env=kept | {name: str(value) for name, value in settings.items()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} ends with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="session")
def harness() -> Callable[[str], HarnessEnvironment]:
    """Return the environment of a harness; it is built where there is a network, once for all sessions."""

    def environment(extra: str) -> HarnessEnvironment:
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        pins = [f"{name}=={version(name)}" for name in ("torch", "torchvision", "torchaudio")]
        requirements = [*pins, *project["optional-dependencies"][extra]]
        # One for each checkout and its requirements.
        digest = hashlib.sha256(repr((sysconfig.get_path("purelib"), requirements)).encode()).hexdigest()
        folder = Path(tempfile.gettempdir()) / f"modrwkv-{extra}-{digest[:12]}"
        with FileLock(f"{folder}.lock"):
            if not (folder / "complete").exists():
                _build(folder, requirements)
        return HarnessEnvironment(folder / "bin" / "python")

    return environment


def _build(folder: Path, requirements: list[str]) -> None:
    uv = [sys.executable, "-m", "uv"]
    for command in (
        [*uv, "venv", "--clear", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--python", str(folder), *requirements],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"the harness cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "modrwkv.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    (folder / "complete").touch()


@pytest.fixture(scope="session")
def train_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a tiny model of text and return its run's folder; keyword arguments replace sections of the manifest."""

    def train(**sections: Any) -> Path:
        folder = tmp_path_factory.mktemp("project")
        talks = [[{"role": "user", "content": text}, {"role": "assistant", "content": text}] for text in TEXTS]
        (folder / "talks.jsonl").write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
        manifest = {
            "modrwkv": 1,
            "name": "tiny",
            "tokenizer": {"type": "bytes"},
            "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
            "data": {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 4},
            "phases": [{"name": "pretrain", "train": ["backbone", "heads"], "lr": 5e-3, "steps": 12}],
        }
        (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest | sections))
        run = folder / "run"
        assert run_program(["train", str(folder / "manifest.yaml"), "--run", str(run), "--quiet"]) == 0
        return run

    return train


@pytest.fixture(scope="session")
def train_seeing_run(train_run: Callable[..., Path]) -> Callable[..., Path]:
    """Train a tiny model of images and sounds; keyword arguments replace sections of the manifest."""
    image = {"type": "siglip2", "init": "scratch", "image_size": 16, "patch_size": 8}
    audio = {"type": "wavlm", "init": "scratch", "rate": 8000, "conv_dim": [32, 32], "conv_kernel": [160, 4]}
    audio |= {"conv_stride": [80, 4], "position_kernel": 16, "position_groups": 4}
    tower = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64}
    modalities = {
        name: {
            "encoder": {**encoder, **tower},
            "compressor": {"type": "none"},
            "adapter": {"type": "mlp", "expansion": 1},
        }
        for name, encoder in (("image", image), ("audio", audio))
    }

    def train(**sections: Any) -> Path:
        return train_run(modalities=modalities, **sections)

    return train
