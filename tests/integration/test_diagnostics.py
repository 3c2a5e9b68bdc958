"""The norms that a phase logs, against plain arithmetic on the same steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training import diagnostics
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train
from modrwkv_core.training.optimizer import PhaseOptimizer

Manifest = Callable[..., Path]
PHASE = {"name": "one", "train": ["adapter", "backbone", "heads"], "lr": 1e-3, "steps": 3, "log_every": 1}
pytestmark = pytest.mark.filterwarnings("ignore:after phase one the model does not use its series")


def lines(manifest: Path, run: Path, *overrides: str) -> list[dict[str, Any]]:
    train(load_manifest(manifest, overrides), run, resume=False, device="cpu", progress_bar=False)
    return read_metrics(run)


def test_norms_are_those_of_the_step(tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[MultimodalModel] = []
    gradients, updates, ratios = [], [], []
    reduce, step = PhaseOptimizer.reduce_gradients, PhaseOptimizer.step
    embed = MultimodalModel.embed

    def by_part(tensor_of: Callable[[str, torch.Tensor], torch.Tensor | None]) -> dict[str, float]:
        found = {}
        for name, part in models[0].parts().items():
            tensors = [tensor_of(f"{name}:{key}", each) for key, each in part.named_parameters() if each.requires_grad]
            squares = [float(each.double().square().sum()) for each in tensors if each is not None]
            if squares:
                found[name] = sum(squares) ** 0.5
        return found

    def reducing(self: PhaseOptimizer, unused: Any) -> torch.Tensor:
        models[:] = [self._model]
        gradients.append(by_part(lambda _, each: each.grad))
        return reduce(self, unused)

    def stepping(self: PhaseOptimizer, factor: float) -> None:
        before = {
            f"{name}:{key}": each.detach().clone()
            for name, part in models[0].parts().items()
            for key, each in part.named_parameters()
        }
        step(self, factor)
        changes = by_part(lambda name, each: each.detach() - before[name])
        weights = by_part(lambda _, each: each.detach())
        updates.append({name: change / weights[name] for name, change in changes.items()})

    def embedding(self: MultimodalModel, batch: Any) -> torch.Tensor:
        stream = embed(self, batch)
        placed = torch.zeros(batch.ids.shape[1], dtype=torch.bool)
        for positions in batch.media_positions.values():
            placed[positions] = True
        norms = stream[0].detach().norm(dim=-1)
        ratios.append(float(norms[placed].mean() / norms[~placed].mean()) if placed.any() else None)
        return stream

    monkeypatch.setattr(PhaseOptimizer, "reduce_gradients", reducing)
    monkeypatch.setattr(PhaseOptimizer, "step", stepping)
    monkeypatch.setattr(MultimodalModel, "embed", embedding)
    logged = lines(tiny_manifest(phases=[PHASE | {"max_grad_norm": 0.01}]), tmp_path / "run")
    assert len(logged) == 3
    for line, gradient, update, ratio in zip(logged, gradients, updates, ratios, strict=True):
        assert gradient.keys() == {"backbone", "series.adapter", "heads.forecast"}
        assert line["gradient_norm"] > 0.01, "gradients were clipped"
        for name, norm in gradient.items():
            assert line[f"gradient_norm/{name}"] == pytest.approx(norm, rel=1e-4)
            assert line[f"update_norm/{name}"] == pytest.approx(update[name], rel=1e-4)
        assert line["update_norm/backbone"] > 0
        assert line["feature_norm/series"] == pytest.approx(ratio, rel=1e-4)


def test_a_sample_of_large_tensors_gives_nearly_the_same(
    tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tiny_manifest(phases=[PHASE])
    whole = lines(manifest, tmp_path / "whole")
    monkeypatch.setattr(diagnostics, "_SAMPLED", 512)
    part = lines(manifest, tmp_path / "part")
    for line, other in zip(whole, part, strict=True):
        assert line["loss"] == other["loss"]
        assert line["update_norm/backbone"] == pytest.approx(other["update_norm/backbone"], rel=0.15)
        assert line["update_norm/backbone"] != other["update_norm/backbone"]


def test_only_logged_steps_are_measured_and_learn_the_same(
    tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tiny_manifest(phases=[PHASE | {"steps": 6}])
    all_lines = lines(manifest, tmp_path / "all")
    measured = 0
    measure = diagnostics.Diagnostics.measure_gradients

    def counting(self: diagnostics.Diagnostics) -> None:
        nonlocal measured
        measured += 1
        assert self._model.on_splice is None, "nothing watches outside of the forward pass"
        measure(self)

    monkeypatch.setattr(diagnostics.Diagnostics, "measure_gradients", counting)
    few = lines(manifest, tmp_path / "few", "phases.one.log_every=4")
    assert [line["step"] for line in few] == [4, 6]
    assert measured == 2
    for line in few:
        [other] = [each for each in all_lines if each["step"] == line["step"]]
        assert line["gradient_norm/backbone"] == other["gradient_norm/backbone"]


def test_a_modality_that_a_step_does_not_show_is_left_out(tiny_manifest: Manifest, tmp_path: Path) -> None:
    manifest = tiny_manifest(
        data={"train": [{"source": "chat", "path": "talks.jsonl"}]}, phases=[PHASE | {"train": ["adapter", "backbone"]}]
    )
    for line in lines(manifest, tmp_path / "run"):
        assert "gradient_norm/backbone" in line
        assert not [name for name in line if "series" in name]
