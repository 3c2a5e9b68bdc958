"""A stranger's plugin, for real: wheels in an environment of their own, where nothing comes from this checkout."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
OURS = ["modrwkv", "modrwkv-siglip2", "modrwkv-mlp"]

MANIFEST = {
    "modrwkv": 1,
    "name": "hearts",
    "tokenizer": {"type": "bytes"},
    "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
    "modalities": {
        "image": {
            "encoder": {
                "type": "siglip2",
                "init": "scratch",
                "image_size": 16,
                "patch_size": 8,
                "hidden_size": 16,
                "num_layers": 1,
                "num_heads": 2,
                "intermediate_size": 16,
            },
            "adapter": {"type": "mlp", "expansion": 1},
        },
        "ecg": {"encoder": {"type": "heartbeat", "stride": 20}, "adapter": {"type": "mlp", "expansion": 1}},
    },
    "data": {"train": [{"source": "chat", "path": "hearts.jsonl"}], "batch_size": 2},
    "phases": [
        {
            "name": "pretrain",
            "train": ["encoder", "adapter", "backbone"],
            "lr": 1e-3,
            "steps": 2,
            "log_every": 1,
            "checkpoint_every": 1,
        }
    ],
}


def heart(beats_per_minute: float, samples: int = 100) -> list[list[float]]:
    """Draw a heart's beats as narrow bumps, 100 samples for each second."""
    beat = (np.arange(samples) / 100 * beats_per_minute / 60) % 1
    values: list[list[float]] = np.exp(-(((beat - 0.5) / 0.05) ** 2)).round(4)[:, None].tolist()
    return values


def write_data(folder: Path) -> None:
    generator = np.random.default_rng(0)
    with (folder / "hearts.jsonl").open("w") as file:
        for index, rate in enumerate((50, 160, 60, 150)):
            Image.fromarray(generator.integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{index}.png")
            question = [
                {"type": "image", "path": f"{index}.png"},
                {"type": "ecg", "values": heart(rate)},
                {"type": "text", "text": "Slow or fast?"},
            ]
            answer = {"role": "assistant", "content": "fast" if rate > 100 else "slow"}
            file.write(json.dumps({"messages": [{"role": "user", "content": question}, answer]}) + "\n")
    (folder / "manifest.yaml").write_text(yaml.safe_dump(MANIFEST, sort_keys=False))


def spoil(project: Path, old: str, new: str) -> None:
    """Change the entry module."""
    (entry,) = project.glob("src/*/plugin.py")
    text = entry.read_text()
    assert old in text
    entry.write_text(text.replace(old, new))


def nothing_comes_from_the_checkout(environment: Any) -> None:
    script = "import sys, modrwkv_core, modrwkv_kernels, modrwkv_heartbeat.plugin as p; print(modrwkv_core.__file__, "
    script += "modrwkv_kernels.__file__, p.__file__, sep='\\n'); print(*sys.path, sep='\\n')"
    files = environment.run([environment.python, "-c", script]).stdout.splitlines()
    assert all(Path(file).is_relative_to(environment.site) for file in files[:3])
    assert not [path for path in files[3:] if Path(path).is_relative_to(ROOT) and ".venv" not in path]
    distributions = ("modrwkv", "modrwkv-heartbeat", "modrwkv-mlp", "modrwkv-siglip2")
    assert environment.states() == dict.fromkeys(distributions, "ok")
    environment.modrwkv("plugins", "doctor")


def the_plugin_is_listed_and_checked(environment: Any) -> None:
    table = environment.modrwkv("plugins", "list").stdout
    assert [line.split()[:6] for line in table.splitlines() if line.startswith("modrwkv-heartbeat")] == [
        ["modrwkv-heartbeat", "0.1.0", "ok", "encoder", "heartbeat", "ecg"],
        ["modrwkv-heartbeat", "0.1.0", "ok", "modality", "ecg", "measurements"],
    ]
    checked = environment.modrwkv("plugins", "check", "modrwkv-heartbeat").stdout
    assert "pass  modrwkv_heartbeat.plugin  entry module is light" in checked
    assert " 0 do not, 1 were not checked" in checked


def it_trains_beside_an_image_encoder_whatever_else_is_broken(environment: Any) -> None:
    losses = environment.losses("runs/first")
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    weights = [
        load_file(environment.work / f"runs/first/checkpoints/step-0000000{step}/ecg.encoder.safetensors")
        for step in (1, 2)
    ]
    assert all((weights[0][name] != weights[1][name]).any() for name in weights[0])

    ruin = environment.scaffold("ruin", "--kind", "adapter")
    spoil(ruin, "from modrwkv_core", "raise OSError('sunk')\nfrom modrwkv_core")
    with environment.stranger(ruin):
        states = environment.states()
        assert states.pop("modrwkv-ruin") == "failed"
        assert set(states.values()) == {"ok"}
        explained = environment.modrwkv("plugins", "doctor", code=1).stdout
        assert "modrwkv-ruin:ruin 0.1.0: failed" in explained
        assert "OSError: sunk" in explained
        assert "what to do: fix or reinstall modrwkv-ruin" in explained
        assert environment.losses("runs/second") == losses
        refused = environment.modrwkv("check", "manifest.yaml", "modalities.ecg.adapter.type=ruin", code=2).stderr
        assert "OSError: sunk" in refused


def two_plugins_of_one_name_disturb_only_who_asks_for_it(environment: Any) -> None:
    rival = environment.scaffold("rival", "--kind", "encoder", "--modality", "ecg")
    spoil(rival, 'name="rival"', 'name="heartbeat"')
    (config,) = rival.glob("src/*/config.py")
    config.write_text(config.read_text().replace('"rival"', '"heartbeat"'))
    with environment.stranger(rival):
        assert set(environment.states().values()) == {"ok"}
        refused = environment.modrwkv("check", "manifest.yaml", code=2).stderr
        assert "modrwkv-heartbeat:heartbeat and modrwkv-rival:rival" in refused
        assert "plugins.prefer" in refused
        environment.modrwkv("check", "manifest.yaml", "modalities.ecg.encoder.type=modrwkv-heartbeat/heartbeat")
        environment.modrwkv("check", "manifest.yaml", "plugins.prefer.encoder/heartbeat=modrwkv-rival")
        explained = environment.modrwkv("plugins", "doctor", code=1).stdout
        assert "encoder 'heartbeat' is claimed by modrwkv-heartbeat:heartbeat and modrwkv-rival:rival" in explained


def a_plugin_of_another_api_is_alone_in_that(environment: Any) -> None:
    relic = environment.scaffold("relic", "--kind", "adapter")
    spoil(relic, "api=1,", "api=0,")
    with environment.stranger(relic):
        states = environment.states()
        assert states.pop("modrwkv-relic") == "incompatible"
        assert set(states.values()) == {"ok"}
        environment.modrwkv("check", "manifest.yaml")
        explained = environment.modrwkv("plugins", "doctor", code=1).stdout
        assert "'relic' for plug-in API 0; this modrwkv has API 1" in explained
        assert "install versions of modrwkv and modrwkv-relic that belong together" in explained


@pytest.mark.slow
def test_a_strangers_plugin_simply_works_and_a_broken_one_disturbs_nobody(environment: Any) -> None:
    environment.install(*OURS)
    environment.install_project(environment.scaffold("heartbeat", "--kind", "encoder", "--modality", "ecg"))
    write_data(environment.work)
    nothing_comes_from_the_checkout(environment)
    the_plugin_is_listed_and_checked(environment)
    it_trains_beside_an_image_encoder_whatever_else_is_broken(environment)
    two_plugins_of_one_name_disturb_only_who_asks_for_it(environment)
    a_plugin_of_another_api_is_alone_in_that(environment)
