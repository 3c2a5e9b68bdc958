"""What it costs to leave out patches that have not changed: a model learns to watch films with and without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble, conversation_encoder
from modrwkv_core.training.loop import train

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 40)}
QUESTION = "What color came last?"


def film(draw: np.random.Generator) -> tuple[np.ndarray[Any, Any], str]:
    """Draw two squares of different colors, one after the other, on a textured wall that a noisy camera records."""
    wall = draw.integers(60, 150, (32, 32, 3))
    frames = np.repeat(wall[None], 8, axis=0)
    names = draw.permutation(list(COLORS))[:2]
    begins = np.sort(draw.choice([1, 3, 5], 2, replace=False))
    for name, begin in zip(names, begins, strict=True):
        row, column = draw.integers(0, 4, 2) * 8
        frames[begin : begin + 2, row : row + 8, column : column + 8] = COLORS[str(name)]
    noisy = frames + draw.normal(0, 1.5, frames.shape)
    return noisy.clip(0, 255).astype(np.uint8), str(names[-1])


def manifest(folder: Path, **keys: Any) -> Path:
    vision = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_layers": 1, "num_heads": 2}
    encoder = {"type": "siglip2", "init": "scratch", "intermediate_size": 64, **vision}
    content = {
        "modrwkv": 1,
        "name": "dropping",
        "tokenizer": {"type": "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": 2, "hidden_size": 64},
        "modalities": {
            "video": {
                "encoder": {"type": "video_frames", "frames": 8, "window": 1, "encoder": encoder, **keys},
                "adapter": {"type": "mlp", "expansion": 1},
            }
        },
        "heads": {"lm": {"type": "lm"}},
        "data": {
            "train": [{"source": "chat", "path": "films.jsonl"}],
            "batch_size": 16,
            "feature_cache": {"path": "cache"},
        },
        "phases": [{"name": "pretrain", "train": ["adapter", "backbone"], "lr": 2e-3, "epochs": 12}],
    }
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_leaving_out_static_patches_costs_no_accuracy(tmp_path: Path, video_file: Any) -> None:
    draw = np.random.default_rng(0)
    lines = []
    for number in range(400):
        frames, answer = film(draw)
        video_file(f"{number}.mkv", frames=frames, codec="ffv1")
        asked = [{"type": "video", "path": f"{number}.mkv"}, {"type": "text", "text": QUESTION}]
        lines.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]})
    (tmp_path / "films.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tests = [film(draw) for _ in range(200)]
    conversations = [(Turn("user", (Media("video", frames), Text(QUESTION))),) for frames, _ in tests]
    accuracy, tokens = {}, {}
    for name, keys in {"all": {}, "changed": {"static_threshold": 4.0}}.items():
        loaded = load_manifest(manifest(tmp_path, **keys))
        encoder = conversation_encoder(assemble(loaded, pretrained=False), None)
        lengths = [encoder.num_tokens(Record("film", turns)) - len(QUESTION) for turns in conversations]
        tokens[name] = float(np.mean(lengths))
        train(loaded, tmp_path / name, device="cpu", progress_bar=False, resume=False)
        session = load(tmp_path / name, device="cpu")
        answers = [
            answer for at in range(0, 200, 20) for answer in session.answer(conversations[at : at + 20], max_tokens=8)
        ]
        accuracy[name] = float(np.mean([answer == name for answer, (_, name) in zip(answers, tests, strict=True)]))
    print(f"tokens a film: {tokens}, accuracy: {accuracy}")  # noqa: T201
    assert tokens["changed"] < 0.3 * tokens["all"]
    assert accuracy["all"] > 0.5, "by chance, it is 0.25"
    assert accuracy["changed"] > accuracy["all"] - 0.05
