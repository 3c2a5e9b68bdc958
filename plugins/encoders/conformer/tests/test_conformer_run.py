"""A small model learns to write down what its features spell, by CTC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from modrwkv_core.cli.main import run_program
from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.record import Media, Turn
from modrwkv_core.training.loggers import read_metrics

LETTERS = "abcd"


def spelled(text: str) -> np.ndarray:
    """Eight frames for each letter, in which one dim is loud."""
    noise = np.random.default_rng(len(text)).normal(0.0, 0.3, (8 * len(text), len(LETTERS)))
    return (noise + 3.0 * np.eye(len(LETTERS))[[LETTERS.index(letter) for letter in text]].repeat(8, 0)).astype("f4")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.permutation(list(LETTERS))[: rng.integers(2, 5)]) for _ in range(64)]
    np.save(tmp_path / "joined.npy", np.concatenate([spelled(text) for text in texts]))
    starts = np.cumsum([0, *(8 * len(text) for text in texts)])
    rows = [f"{start}\t{8 * len(text)}\t{text}\n" for start, text in zip(starts, texts, strict=False)]
    (tmp_path / "table.tsv").write_text("start_frame\tn_frames\ttext\n" + "".join(rows))
    source = {"source": "labeled_features", "path": "table.tsv", "joined": "joined.npy"}
    encoder = {"type": "conformer_features", "in_dim": len(LETTERS), "subsampling": 2, "conv_dim": 8, "hidden_size": 32}
    content = {
        "modrwkv": 1,
        "name": "spelling",
        "tokenizer": {"type": "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
        "modalities": {
            "features": {
                "encoder": encoder | {"num_layers": 1, "intermediate_size": 64, "kernel": 5, "dropout": 0.0},
                "adapter": {"type": "mlp", "expansion": 1},
            }
        },
        "heads": {"lm": {"type": "lm"}, "ctc": {"type": "ctc", "modality": "features"}},
        "data": {"train": [source | {"rows": [8, 64]}], "valid": [source | {"rows": [0, 8]}], "batch_size": 16},
        "phases": [
            {"name": "pretrain", "train": ["encoder", "adapter", "backbone", "heads"], "lr": 3e-3, "steps": 200}
        ],
        "evaluation": {"spelling": {"task": {"type": "exact_match", "head": "ctc"}, "data": source | {"rows": [0, 8]}}},
    }
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def trained(manifest: Path, *overrides: str) -> Path:
    run = manifest.parent / "run"
    assert run_program(["train", str(manifest), "--run", str(run), "--quiet", "--device", "cpu", *overrides]) == 0
    return run


@pytest.mark.filterwarnings("ignore:.*does not use its features")
def test_training_and_validation_measure_its_loss(manifest: Path) -> None:
    metrics = read_metrics(trained(manifest, "phases.pretrain.steps=2", "phases.pretrain.log_every=1"))
    for line in metrics[:2]:
        assert line["loss"] == pytest.approx(line["loss/lm"] + line["loss/ctc"])
    assert metrics[-1]["valid_loss"] == pytest.approx(metrics[-1]["valid/lm"] + metrics[-1]["valid/ctc"])
    assert "modality_gain/features" in metrics[-1]


@pytest.mark.slow
def test_it_spells_what_it_has_not_seen(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(manifest)
    metrics = read_metrics(run)
    assert metrics[0]["loss/ctc"] > 3 > 0.5 > metrics[-1]["valid/ctc"]
    assert metrics[-1]["modality_gain/features"] > 1
    capsys.readouterr()
    assert run_program(["evaluate", str(run), "--json", "--quiet", "--device", "cpu"]) == 0
    [scores] = json.loads(capsys.readouterr().out)["tasks"].values()
    assert scores["metrics"]["exact_match"]["score"] >= 0.75
    session = load(run, device="cpu")
    assert session.answer([[Turn("user", (Media("features", spelled("dabc")),))]], 8, head="ctc") == ["dabc"]
