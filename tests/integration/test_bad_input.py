"""What users get wrong ends with exit code 2 and one message: what happened, where, what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from modrwkv_core.cli.main import run_program
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

Write = Callable[..., Path]
PHASE = {"name": "only", "train": ["backbone", "adapter", "heads"], "lr": 1e-3, "steps": 1}
SENSES = {
    "image": {
        "encoder": {
            "type": "siglip2",
            "init": "scratch",
            "image_size": 16,
            "patch_size": 8,
            "hidden_size": 8,
            "num_layers": 1,
            "num_heads": 1,
            "intermediate_size": 8,
        },
        "adapter": {"type": "mlp", "expansion": 1},
    },
    "audio": {
        "encoder": {
            "type": "wavlm",
            "init": "scratch",
            "rate": 8000,
            "conv_dim": [8],
            "conv_kernel": [256],
            "conv_stride": [128],
            "conv_norm": "layer",
            "hidden_size": 8,
            "num_layers": 1,
            "num_heads": 1,
            "intermediate_size": 8,
            "position_kernel": 4,
            "position_groups": 1,
        },
        "adapter": {"type": "mlp", "expansion": 1},
    },
    "series": {
        "encoder": {"type": "wavenet", "hidden_size": 8, "num_layers": 2},
        "compressor": {"type": "conv1d", "kernel": 4, "stride": 4},
        "adapter": {"type": "mlp", "expansion": 1},
    },
}


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the program with words that it must refuse; return what it says on stderr."""

    def call(*words: object) -> str:
        assert run_program([str(word) for word in words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "Traceback" not in said
        return said

    return call


@pytest.fixture
def run(tiny_manifest: Write, tmp_path: Path) -> Path:
    """A run of a model with three senses."""
    loaded = load_manifest(tiny_manifest(modalities=SENSES, phases=[PHASE]))
    train(loaded, tmp_path / "run", resume=False, device="cpu", progress_bar=False)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("backbone.type=rwkv8", ["backbone", "rwkv8", "did you mean rwkv7"]),
        ("modalities.series.encoder={type: timer}", ["modalities.series.encoder", "a checkpoint or init: scratch"]),
        ("phases.align.learning_rate=1", ["phases.0.learning_rate", "unknown key", "lr,"]),
        ("phases.align.train=[adaptor]", ["adaptor", "adapter"]),
        ("modalities.image={encoder: {type: wavenet}, adapter: {type: mlp}}", ["wavenet", "image", "series"]),
        ("modalities.smell={encoder: {type: wavenet}, adapter: {type: mlp}}", ["smell"]),
        ("tokenizer.type=world", []),
    ],
)
def test_manifests_are_refused_before_anything_heavy_loads(
    tiny_manifest: Write, refused: Callable[..., str], override: str, expected: list[str]
) -> None:
    manifest = tiny_manifest()
    if not expected:
        assert run_program(["check", str(manifest), override]) == 0
        return
    said = refused("check", manifest, override)
    for words in expected:
        assert words in said


def test_a_vocabulary_wider_than_the_weights_names_both(tiny_manifest: Write, refused: Callable[..., str]) -> None:
    said = refused("check", tiny_manifest(tokenizer={"type": "world"}), "backbone.vocab=320")
    assert "65536" in said
    assert "320" in said


def test_pictures(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    picture = tmp_path / "image.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:60])
    text = tmp_path / "text.png"
    text.write_text("not an image")
    assert (
        run_program(["generate", str(run), "What <image> is this?", "--image", str(picture), "--max-tokens", "2"]) == 0
    )
    for path in (tmp_path / "absent.png", cut, text):
        assert path.name in refused("generate", run, "What is this?", "--image", path)


def test_sounds(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    for name, samples in {"empty": np.zeros(0), "short": np.ones(20) * 0.1}.items():
        path = tmp_path / f"{name}.wav"
        samples[1::2] *= -1
        soundfile.write(path, samples, 8000)
        said = refused("generate", run, "What is this?", "--audio", path)
        assert f"{name}.wav" in said
        assert "hint: " in said


def test_series(run: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    holes = tmp_path / "holes.csv"
    holes.write_text("value\n1\nnan\n3\n4\n")
    said = refused("forecast", run, "--series", holes, "--horizon", 2)
    assert "holes.csv" in said
    short = tmp_path / "short.csv"
    short.write_text("value\n1\n2\n3\n")
    assert "too short" in refused("forecast", run, "--series", short, "--horizon", 2)
    assert "absent.csv" in refused("forecast", run, "--series", tmp_path / "absent.csv", "--horizon", 2)


def test_runs(run: Path, refused: Callable[..., str], tiny_manifest: Write, tmp_path: Path) -> None:
    assert "manifest" in refused("train", tiny_manifest(), "--run", run, "--resume")
    assert "--resume" in refused("train", tiny_manifest(), "--run", run)
    assert "modrwkv train" in refused("generate", tmp_path / "nowhere", "Hello?")
    (tmp_path / "file").write_text("in the way")
    assert "--run" in refused("train", tiny_manifest(), "--run", tmp_path / "file" / "run", "--quiet")


def test_records(refused: Callable[..., str], tiny_manifest: Write, tmp_path: Path) -> None:
    manifest = tiny_manifest(phases=[PHASE], data={"train": [{"source": "chat", "path": "broken.jsonl"}]})
    (manifest.parent / "broken.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi"}, \n')
    assert "broken.jsonl:1" in refused("train", manifest, "--run", tmp_path / "other", "--quiet")
