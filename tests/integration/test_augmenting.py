"""Augmentations in whole runs: the same after a kill, never where data are judged, and errors that name them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.random import Generator

from modrwkv_core.augmentations import features as feature_augmentations
from modrwkv_core.augmentations import series as series_augmentations
from modrwkv_core.augmentations.features import FeatureMask
from modrwkv_core.augmentations.series import Jitter
from modrwkv_core.errors import ComponentError, ModRWKVError
from modrwkv_core.evaluation.evaluator import evaluate
from modrwkv_core.inference.loading import load
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.values import Features
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model import augmenting, build
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:after phase .* the model does not use its series:UserWarning"),
]

Manifest = Callable[..., Path]

ALL = ["encoder", "compressor", "adapter", "backbone", "heads"]
WINDOWS = {
    "source": "csv_windows",
    "path": "waves.csv",
    "columns": ["sine", "cosine"],
    "context_length": 24,
    "horizon": 6,
    "stride": 10,
}
PHASE = {"name": "align", "train": ALL, "lr": 1e-2, "steps": 9, "checkpoint_every": 4, "log_every": 1}
SERIES = [float(n % 7) for n in range(24)]
EVALUATION = {"waves": {"task": {"type": "forecast"}, "data": WINDOWS}}


def modalities(*augmentations: dict[str, Any]) -> dict[str, Any]:
    return {
        "series": {
            "encoder": {"type": "wavenet", "hidden_size": 8, "num_layers": 3},
            "compressor": {"type": "conv1d", "kernel": 4, "stride": 4},
            "adapter": {"type": "mlp", "expansion": 1},
            "augmentations": list(augmentations),
        }
    }


EVERYTHING = modalities(
    {"type": "jitter", "sigma": 0.1, "probability": 0.7},
    {"type": "scaling"},
    {"type": "tsmix"},
    {"type": "window_mask"},
    {"type": "feature_mask", "time_share": 0.3, "time_length": 3, "probability": 0.5},
    {"type": "feature_dropout"},
)


@pytest.fixture
def manifest(tiny_manifest: Manifest) -> Manifest:
    """Write a manifest with series alone, and all augmentations of series unless it says which."""

    def write(**sections: Any) -> Path:
        data = {"train": [WINDOWS], "valid": [WINDOWS], "batch_size": 4}
        return tiny_manifest(
            **{"modalities": EVERYTHING, "data": data, "phases": [PHASE], "evaluation": EVALUATION} | sections
        )

    return write


def run(manifest: Path, folder: Path, *overrides: str, resume: bool = False) -> RunFolder:
    train(load_manifest(manifest, overrides), folder, resume=resume, device="cpu", progress_bar=False)
    return RunFolder(folder)


def losses(folder: RunFolder) -> list[Any]:
    return [line["loss"] for line in read_metrics(folder.path) if "loss" in line]


def test_workers_and_a_resume_change_no_bit(manifest: Manifest, tmp_path: Path) -> None:
    whole = run(manifest(), tmp_path / "whole")
    broken = RunFolder(tmp_path / "broken")
    shutil.copytree(whole.path, broken.path)
    shutil.rmtree(broken.latest())  # in the middle of the second of two epochs
    assert broken.latest().name == "step-00000008"
    shutil.rmtree(broken.latest())
    run(manifest(), broken.path, "data.workers=1", resume=True)
    assert losses(broken) == losses(whole)
    for path in whole.latest().glob("*.safetensors"):
        assert path.read_bytes() == (broken.latest() / path.name).read_bytes(), path.name


def test_phases_can_go_without(manifest: Manifest, tmp_path: Path) -> None:
    plain = run(manifest(modalities=modalities()), tmp_path / "plain")
    without = run(manifest(phases=[PHASE | {"augment": False}]), tmp_path / "without")
    augmented = run(manifest(), tmp_path / "augmented")
    assert losses(without) == losses(plain)
    assert all(one != other for one, other in zip(losses(augmented), losses(plain), strict=True))


def test_what_judges_sees_data_as_they_are(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def jitter(self: Jitter, signal: TimeSeries, rng: Generator) -> TimeSeries:
        calls.append("jitter")
        return signal

    def mask(self: FeatureMask, features: Features, rngs: Sequence[Generator]) -> Features:
        calls.append("feature_mask")
        return features

    monkeypatch.setattr(series_augmentations.Jitter, "__call__", jitter)
    monkeypatch.setattr(feature_augmentations.FeatureMask, "__call__", mask)
    both = modalities({"type": "jitter"}, {"type": "feature_mask"})
    folder = run(manifest(modalities=both, phases=[PHASE | {"steps": 2}]), tmp_path / "run")
    assert [line for line in read_metrics(folder.path) if "valid/forecast" in line], "it validates"
    assert calls == ["jitter"] * 4 + ["feature_mask"] + ["jitter"] * 4 + ["feature_mask"]
    calls.clear()
    session = load(folder.path)
    evaluate(session, "waves")
    session.forecast(SERIES, 6)
    assert not calls


def test_a_run_is_used_without_building_augmentations(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(manifest(phases=[PHASE | {"steps": 1}]), tmp_path / "run")
    built = build.build

    def refuse(registry: Any, kind: str, *arguments: Any, **sections: Any) -> Any:
        assert kind != "augmentation"
        return built(registry, kind, *arguments, **sections)  # type: ignore[arg-type]

    monkeypatch.setattr("modrwkv_core.model.assemble.build", refuse)
    monkeypatch.setattr(augmenting, "build", refuse)
    evaluate(load(folder.path), "waves")


def broken_by(monkeypatch: pytest.MonkeyPatch, component: str, fail: Callable[..., Any]) -> None:
    made = build._construct

    def construct(implementation: type[Any], origin: Origin, *arguments: Any, **sections: Any) -> Any:
        if origin.component != component:
            return made(implementation, origin, *arguments, **sections)
        broken = type(implementation.__name__, (implementation,), {"__call__": fail})
        return made(broken, Origin(component, "a-stranger"), *arguments, **sections)

    monkeypatch.setattr(build, "_construct", construct)


@pytest.mark.parametrize("name", ["jitter", "scaling", "feature_mask"])
def test_failures_name_component_and_distribution(
    name: str, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise SystemExit("it gave up")

    broken_by(monkeypatch, f"augmentation/{name}", fail)
    with pytest.raises(ModRWKVError, match="the augmentation failed: SystemExit: it gave up") as caught:
        run(manifest(modalities=modalities({"type": name})), tmp_path / "run")
    assert (caught.value.component, caught.value.distribution) == (f"augmentation/{name}", "a-stranger")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: None, "it returned NoneType, it must return Features"),
        (lambda given: Features(given.values[:, :-1], given.lengths), "it made features"),
        (lambda given: Features(given.values.double(), given.lengths), "float64"),
        (lambda given: Features(given.values, given.lengths - 1), "it made lengths"),
        (lambda given: Features(given.values * torch.nan, given.lengths), "NaN or infinity"),
    ],
)
def test_features_of_another_form_are_refused(
    change: Callable[[Features], Any],
    message: str,
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken_by(monkeypatch, "augmentation/feature_mask", lambda self, features, rngs: change(features))
    with pytest.raises(ComponentError, match=message) as caught:
        run(manifest(modalities=modalities({"type": "feature_mask"})), tmp_path / "run")
    assert caught.value.distribution == "a-stranger"


def test_an_augmentation_says_what_it_changes(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_augmentations, "Jitter", type("Vague", (augmenting.Augmentation,), {}))
    with pytest.raises(ComponentError, match="Vague does not say what it changes"):
        run(manifest(modalities=modalities({"type": "jitter"})), tmp_path / "run")


def test_prompts_are_not_augmented(manifest: Manifest, tmp_path: Path) -> None:
    loaded = load_manifest(manifest())
    model = assemble(loaded, pretrained=False).eval()
    plain = Session(loaded, model, tmp_path).forecast(SERIES, 6).points
    augmenting.add_augmentations(loaded, model)
    assert (Session(loaded, model, tmp_path).forecast(SERIES, 6).points == plain).all()
    assert model.embedders["series"].augmenter is not None
