"""A manifest with videos, from the check to an answer, with nothing but installed plugins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modrwkv_core.cli.main import run_program
from modrwkv_core.training.loggers import read_metrics

SIGLIP2 = {
    "type": "siglip2",
    "init": "scratch",
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": 12,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 16,
}

WAVLM = {
    "type": "wavlm", "init": "scratch", "rate": 8000, "conv_dim": [8, 8], "conv_kernel": [400, 4],
    "conv_stride": [400, 4], "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 16,
    "position_kernel": 4, "position_groups": 2,
}  # fmt: skip


@pytest.fixture
def manifest(tmp_path: Path, video_file: Callable[..., Path]) -> Path:
    """Write a manifest, its conversations about two films and about a frame of one, and the films."""
    films = {"dusk": video_file("dusk.mp4", 12), "dawn": video_file("dawn.webm", 30)}
    talks = [
        [
            {
                "role": "user",
                "content": [{"type": "video", "path": path.name}, {"type": "text", "text": "What is it?"}],
            },
            {"role": "assistant", "content": name},
        ]
        for name, path in films.items()
    ]
    lines = [json.dumps({"messages": talk}) + "\n" for talk in talks]
    (tmp_path / "talks.jsonl").write_text("".join(lines))
    content: dict[str, Any] = {
        "modrwkv": 1,
        "name": "films",
        "tokenizer": {"type": "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
        "modalities": {
            "image": {"encoder": SIGLIP2, "adapter": {"type": "mlp", "expansion": 1}},
            "video": {
                "encoder": {"type": "video_frames", "frames": 6, "encoder": SIGLIP2},
                "adapter": {"type": "mlp", "expansion": 1},
            },
        },
        "data": {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 2, "workers": 1},
        "phases": [
            {"name": "pretrain", "train": ["encoder", "adapter", "backbone"], "lr": 1e-3, "steps": 2, "log_every": 1}
        ],
    }
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "manifest.yaml"


def test_a_model_that_sees_videos_is_checked_trained_and_asked(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["check", str(manifest)]) == 0
    assert "item of 4 -> video_frames [4, 12] -> mlp [4, 64] -> 4 tokens" in capsys.readouterr().out
    run = tmp_path / "run"
    assert run_program(["train", str(manifest), "--run", str(run), "--quiet"]) == 0
    assert [line["step"] for line in read_metrics(run)] == [1, 2]
    assert set(json.loads((run / "lock.json").read_text())["components"]) >= {"encoder/video_frames", "encoder/siglip2"}
    capsys.readouterr()
    film = str(tmp_path / "dusk.mp4")
    assert run_program(["generate", str(run), "What <video> is it?", "--video", film, "--max-tokens", "3"]) == 0
    assert run_program(["generate", str(run), "What is it?", "--video", str(manifest)]) == 2
    assert "manifest.yaml is not a video" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("modalities.video.encoder.encoder.type=wavenet", ["reads 'series'", "siglip2"]),
        (
            "modalities.video.encoder.encoder.patch_sise=4",
            ["modalities.video.encoder.encoder.patch_sise", "patch_size"],
        ),
        ("modalities.video.encoder.fps=2", ["either frames or fps"]),
        ("modalities.video.encoder={type: siglip2, init: scratch}", ["reads 'image'", "video_frames"]),
        ("modalities.image.encoder={type: video_frames, encoder: {type: siglip2, init: scratch}}", ["reads 'video'"]),
    ],
)
def test_mistakes_are_found_when_the_manifest_is_checked(
    manifest: Path, capsys: pytest.CaptureFixture[str], override: str, expected: list[str]
) -> None:
    assert run_program(["check", str(manifest), override]) == 2
    said = capsys.readouterr().err
    for words in ("modalities.", *expected):
        assert words in said


def test_a_model_that_sees_and_hears_films_is_trained_and_asked(
    manifest: Path, tmp_path: Path, video_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    hum = np.full((1, 12000), 0.1, np.float32)
    video_file("dusk.mp4", 30, sound=(hum, 8000))  # whose sound is half as long as its pictures
    overrides = [
        "modalities.video.encoder.timestamps=true",
        "modalities.video.encoder.sound=true",
        "modalities.video.encoder.static_threshold=4",
        f"modalities.audio={json.dumps({'encoder': WAVLM, 'adapter': {'type': 'mlp', 'expansion': 1}})}",
        "data.feature_cache={path: cache}",
        "phases.0.train=[adapter, backbone]",
        "phases.0.steps=3",
    ]
    run = tmp_path / "run"
    assert run_program(["train", str(manifest), *overrides, "--run", str(run), "--quiet"]) == 0, capsys.readouterr().err
    assert [line["step"] for line in read_metrics(run)] == [1, 2, 3]
    for film in ("dusk.mp4", "dawn.webm"):
        asked = ["generate", str(run), "What <video> is it?", "--video", str(tmp_path / film), "--max-tokens", "3"]
        assert run_program(asked) == 0, capsys.readouterr().err


def test_sound_without_the_modality_audio_is_found_when_the_manifest_is_checked(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["check", str(manifest), "modalities.video.encoder.sound=true"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "encoder 'video_frames' (modrwkv-video) also reads audio, but the model has these modalities: image" in said
    assert "add modalities.audio, or set video_frames to read no audio" in said


def test_grid_compressors_need_all_patches(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["modalities.video.compressor={type: pool2d}"]
    assert run_program(["check", str(manifest), *overrides]) == 0
    assert run_program(["check", str(manifest), *overrides, "modalities.video.encoder.static_threshold=1"]) == 2
    assert "have no grid" in capsys.readouterr().err
