"""Runs with a cache of features: equal to runs without, across phases, ablations, kills and damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:after phase .* the model does not use its series:UserWarning"),
]

Manifest = Callable[..., Path]
WINDOWS = {
    "source": "csv_windows",
    "path": "waves.csv",
    "columns": ["sine", "cosine"],
    "context_length": 24,
    "horizon": 6,
    "stride": 10,
}
ALIGN = {"name": "align", "train": ["compressor", "adapter", "heads"], "lr": 1e-2, "epochs": 2, "log_every": 1}
FINETUNE = ALIGN | {"name": "finetune", "train": ["adapter", "backbone", "heads"], "epochs": 1}
CACHE = "data.feature_cache={path: cache, max_bytes: 2000000}"


@pytest.fixture
def manifest(tiny_manifest: Manifest) -> Manifest:
    """Write a manifest of series with two phases of a frozen encoder; keywords replace sections."""

    def write(*augmentations: dict[str, Any], **sections: Any) -> Path:
        series = {
            "encoder": {"type": "wavenet", "hidden_size": 8, "num_layers": 3},
            "compressor": {"type": "conv1d", "kernel": 4, "stride": 4},
            "adapter": {"type": "mlp", "expansion": 1},
            "augmentations": list(augmentations),
        }
        data = {"train": [WINDOWS], "batch_size": 4}
        return tiny_manifest(
            **({"modalities": {"series": series}, "data": data, "phases": [ALIGN, FINETUNE]} | sections)
        )

    return write


def run(manifest: Path, folder: Path, *overrides: str, resume: bool = False) -> list[dict[str, Any]]:
    train(load_manifest(manifest, overrides), folder, resume=resume, device="cpu", progress_bar=False)
    return read_metrics(folder)


def losses(lines: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("step", "loss", "gradient_norm", "valid/forecast", "modality_gain/series")
    return [tuple(line.get(name) for name in names) for line in lines]


def hits(lines: list[dict[str, Any]]) -> list[float]:
    return [line["feature_cache_hits"] for line in lines if "loss" in line]


def near(lines: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(lines) == len(expected)
    for line, other in zip(losses(lines), losses(expected), strict=True):
        assert [value is None for value in line] == [value is None for value in other]
        values, wanted = ([value for value in each if value is not None] for each in (line, other))
        assert values == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_with_the_cache_equals_one_without(manifest: Manifest, tmp_path: Path, workers: int) -> None:
    path = manifest(data={"train": [WINDOWS], "valid": [WINDOWS], "batch_size": 4, "workers": workers})
    plain = run(path, tmp_path / "plain")
    cold = run(path, tmp_path / "cold", CACHE)
    epoch = len(hits(cold)) // 3
    assert losses(cold)[:epoch] == losses(plain)[:epoch], "the first epoch encodes the same batches"
    near(cold, plain)  # later ones encode none, so features were rounded in other batches
    assert hits(cold)[epoch:] == [1.0] * (2 * epoch)
    warm = run(path, tmp_path / "warm", CACHE)
    assert hits(warm) == [1.0] * (3 * epoch)
    near(warm, plain)
    assert len(list((path.parent / "cache").glob("*/*"))) == 36


def test_the_next_ablation_does_not_encode(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest()
    run(path, tmp_path / "one", CACHE)
    with monkeypatch.context() as patch:
        patch.setattr("modrwkv_wavenet.encoder.WaveNetEncoder.forward", None)
        run(path, tmp_path / "two", CACHE, "phases.align.lr=1e-3", "modalities.series.compressor.stride=2")


def test_other_weights_have_other_entries(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest()
    run(path, tmp_path / "one", CACHE)
    other = run(path, tmp_path / "two", CACHE, "seed=1")
    assert hits(other)[0] == 0.0
    trained = run(path, tmp_path / "three", CACHE, "phases.align.train=[series, backbone, heads]")
    lines = [line for line in trained if line["phase"] == "finetune"]
    assert all("feature_cache_hits" not in line for line in trained if line["phase"] == "align")
    assert hits(lines)[0] == 0.0


def test_augmented_signals_are_not_cached_and_features_are(manifest: Manifest, tmp_path: Path) -> None:
    jittered = run(manifest({"type": "jitter", "sigma": 0.1}), tmp_path / "jitter", CACHE)
    assert all("feature_cache_hits" not in line for line in jittered)
    masked = manifest({"type": "feature_dropout"})
    plain = run(masked, tmp_path / "plain")
    near(run(masked, tmp_path / "cached", CACHE), plain)
    warm = run(masked, tmp_path / "warm", CACHE)
    near(warm, plain)
    assert set(hits(warm)) == {1.0}


def test_a_kill_and_damage_change_nothing(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest()
    whole = run(path, tmp_path / "whole", CACHE)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    shutil.rmtree(RunFolder(tmp_path / "resumed").steps()[-1])
    for entry in list((path.parent / "cache").glob("*/*"))[::2]:
        entry.write_bytes(entry.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="is damaged, and its features are computed again"):
        resumed = run(path, tmp_path / "resumed", CACHE, resume=True)
    near(resumed, whole)
