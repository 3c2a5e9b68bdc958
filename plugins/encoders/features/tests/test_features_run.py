"""The example manifest on the real data that it names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from modrwkv_core.cli.main import run_program
from modrwkv_core.manifest import load_manifest
from modrwkv_core.model.assemble import open_source
from modrwkv_core.training.loggers import read_metrics

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "an4_mfcc.yaml"


def test_the_example_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["check", str(EXAMPLE)]) == 0
    assert "item of 1000 -> features [250, 256] -> mlp [250, 256] -> 250 tokens" in capsys.readouterr().out


@pytest.fixture
def data_root() -> Path:
    root = Path(os.environ.get("MODRWKV_DATA", "absent"))
    if not (root / "an4_mfcc").is_dir():
        pytest.skip("MODRWKV_DATA does not name a folder with an4_mfcc: the published features are not here")
    return root


def test_an4_has_its_official_splits(data_root: Path) -> None:
    loaded = load_manifest(EXAMPLE)
    (train,), (test,) = (
        [open_source(loaded, each) for each in part]
        for part in (loaded.manifest.data.train, loaded.manifest.data.valid)
    )
    assert (len(train), len(test)) == (948, 130)
    words = [record.turns[1].parts[0].text.split() for record in map(train.__getitem__, range(len(train)))]
    assert sum(map(len, words)) == 5_442
    frames = [len(source[index].turns[0].parts[0].media) for source in (train, test) for index in range(len(source))]
    assert sum(frames) == 289_252
    assert np.isfinite(train[3].turns[0].parts[0].media).all()


def test_the_example_trains_on_an4(data_root: Path, tmp_path: Path) -> None:
    small = ["backbone.num_layers=1", "backbone.hidden_size=64", "modalities.features.encoder.hidden_size=32"]
    steps = ["phases.pretrain.steps=12", "phases.pretrain.epochs=null", "phases.pretrain.log_every=4", "data.valid=[]"]
    assert run_program(["train", str(EXAMPLE), "--run", str(tmp_path / "run"), "--quiet", *small, *steps]) == 0
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0] < 8
