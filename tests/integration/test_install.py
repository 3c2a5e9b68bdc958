"""``pip install modrwkv`` from wheels in a fresh environment, its extras, and the README's Python example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def python_example() -> str:
    [example] = re.findall(
        r"^```python\n(import modrwkv_core\n.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    return str(example)


def write_project(folder: Path) -> None:
    """Write a photo, conversations about it, and the manifest of a model that learns them in two steps."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg")
    question = [{"type": "image", "path": "photo.jpg"}, {"type": "text", "text": "What is this?"}]
    answer = {"role": "assistant", "content": "noise"}
    talk = {"messages": [{"role": "user", "content": question}, answer]}
    (folder / "talks.jsonl").write_text((json.dumps(talk) + "\n") * 2)
    encoder = {"type": "siglip2", "init": "scratch", "image_size": 16, "patch_size": 8, "hidden_size": 16}
    encoder |= {"num_layers": 1, "num_heads": 2, "intermediate_size": 16}
    connectors = {"compressor": {"type": "pool"}, "adapter": {"type": "mlp"}}
    manifest = {
        "modrwkv": 1,
        "name": "installed",
        "tokenizer": {"type": "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
        "modalities": {"image": {"encoder": encoder, **connectors}},
        "data": {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 1},
        "phases": [{"name": "align", "train": ["adapter", "backbone"], "lr": 1e-3, "steps": 2}],
    }
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))


@pytest.mark.slow
def test_the_readmes_example_runs_where_modrwkv_was_installed_from_wheels(environment: Any) -> None:
    environment.install("modrwkv")
    assert set(environment.states()) == {"modrwkv"}
    listed = environment.run([environment.python, "-m", "modrwkv_core", "plugins", "list"]).stdout
    assert listed == environment.modrwkv("plugins", "list").stdout

    environment.install("modrwkv[image]")
    states = environment.states()
    assert set(states.values()) == {"ok"}
    assert {"modrwkv-siglip2", "modrwkv-clip", "modrwkv-mlp", "modrwkv-pool"} < set(states)
    assert not {"modrwkv-whisper", "modrwkv-timer", "modrwkv-video"} & set(states)

    write_project(environment.work)
    environment.modrwkv("train", "manifest.yaml", "--run", "runs/mine", "--quiet", "--device", "cpu")
    origins = "import modrwkv_kernels as kernels\nprint(modrwkv_core.__file__, kernels.__file__, sep='\\n')\n"
    backends = "print(*kernels.available_backends())"
    output = environment.run([environment.python, "-c", python_example() + origins + backends]).stdout
    *_, core, kernels, available = output.splitlines()
    assert Path(core).is_relative_to(environment.site)
    assert Path(kernels).is_relative_to(environment.site)
    assert "cpu" in available.split(), "the wheel holds no compiled kernels"

    environment.install("modrwkv[all]")
    assert set(environment.states().values()) == {"ok"}
    environment.run([environment.python, "-m", "pip", "check"])
