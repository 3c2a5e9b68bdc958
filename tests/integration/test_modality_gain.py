"""Validation says whether a model uses its senses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import conversation_encoder
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train
from modrwkv_core.training.phase import PhaseRun
from modrwkv_core.training.validation import exchanged, validate
from modrwkv_core.training.world import World

Manifest = Callable[..., Path]
WINDOWS = {
    "source": "csv_windows",
    "path": "waves.csv",
    "columns": ["sine", "cosine"],
    "context_length": 24,
    "horizon": 6,
    "stride": 30,
}
PHASE = {"name": "one", "train": ["adapter", "backbone", "heads"], "lr": 1e-3, "steps": 6, "log_every": 1}


@pytest.fixture
def context(tiny_manifest: Manifest, tmp_path: Path) -> RunContext:
    loaded = load_manifest(
        tiny_manifest(data={"train": [WINDOWS], "valid": [WINDOWS], "batch_size": 3}, phases=[PHASE])
    )
    world = World(0, 1, torch.device("cpu"))
    context = RunContext(loaded, RunFolder(tmp_path / "run"), world, progress_bar=False, pretrained=False)
    with torch.no_grad():  # a fresh backbone writes zeros, so that nothing passes from token to token
        for parameter in context.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return context


def test_a_gain_is_what_conversations_lose_with_the_series_of_others(context: RunContext) -> None:
    phase = context.manifest.phases[0]
    metrics = validate(context, phase)
    # Conversation by conversation, without packing.
    encoder = conversation_encoder(context.model, None)
    [source] = context.valid
    samples = {sample.key: sample for sample in map(encoder.sample, source)}  # type: ignore[arg-type]
    context.model.eval()

    def loss(sample: Any) -> float:
        with torch.no_grad():
            return float(context.model.losses(pack([sample]))["forecast"])

    true, differences = [], []
    for (batch,) in context.loader(phase, context.valid).batches(0):
        assert batch is not None
        chosen = [samples[key] for key in batch.keys]
        for sample, other in zip(chosen, chosen[1:] + chosen[:1], strict=True):
            true.append(loss(sample))
            if other is not sample:
                [placed] = sample.media
                swapped = replace(sample, media=(replace(placed, item=other.media[0].item),))
                differences.append(loss(swapped) - true[-1])
    assert metrics["valid/forecast"] == pytest.approx(sum(true) / len(true), rel=1e-5)
    assert metrics["modality_gain/series"] == pytest.approx(sum(differences) / len(differences), rel=1e-3, abs=1e-6)
    assert abs(metrics["modality_gain/series"]) > 1e-6


def test_a_model_that_does_not_look_gains_nothing(context: RunContext) -> None:
    for parameter in context.model.parts()["series.adapter"].parameters():
        torch.nn.init.zeros_(parameter)
    assert validate(context, context.manifest.phases[0])["modality_gain/series"] == pytest.approx(0.0, abs=1e-6)


def test_media_are_exchanged_only_where_they_fit(context: RunContext) -> None:
    encoder = conversation_encoder(context.model, None)
    [source] = context.valid
    first, second, third = (encoder.sample(source[index]) for index in range(3))
    [placed] = second.media
    odd = replace(second, media=(replace(placed, count=placed.count + 1),))
    pair = exchanged(pack([first, odd, third]), "series")
    assert pair is not None
    batch, conversations = pair
    assert conversations == (0, 2)
    assert [each.item for each in batch.media] == [third.media[0].item, odd.media[0].item, first.media[0].item]
    assert exchanged(pack([first, odd]), "series") is None
    assert exchanged(pack([first, third]), "image") is None


@pytest.mark.filterwarnings("ignore:after phase one the model does not use its series")
def test_validation_between_steps_changes_nothing_and_is_repeated_on_resume(
    tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, **changes: Any) -> RunFolder:
        data = {"train": [WINDOWS], "valid": [WINDOWS], "batch_size": 3}
        loaded = load_manifest(tiny_manifest(data=data, phases=[PHASE | {"checkpoint_every": 2} | changes]))
        folder = tmp_path / name
        train(loaded, folder, resume=folder.exists(), device="cpu", progress_bar=False)
        return RunFolder(folder)

    def lines(folder: RunFolder, *kinds: str) -> list[Any]:
        chosen = [
            {k: v for k, v in line.items() if k.startswith(("step", *kinds))} for line in read_metrics(folder.path)
        ]
        return [line for line in chosen if len(line) > 1]

    without, whole = run("without"), run("whole", eval_every=2)
    assert lines(without, "loss") == lines(whole, "loss")
    assert [line["step"] for line in lines(whole, "valid")] == [2, 4, 6]
    assert [line["step"] for line in lines(without, "valid")] == [6]
    part = run("part", eval_every=2)
    for checkpoint in part.steps():
        if checkpoint.name > "step-00000004":
            shutil.rmtree(checkpoint)
    resumed = run("part", eval_every=2)
    assert lines(resumed, "loss", "valid", "modality") == lines(whole, "loss", "valid", "modality")

    # An error right after a validation saves the step before it, so the validation is repeated, not logged twice.
    take_step = PhaseRun.take_step

    def failing(self: PhaseRun, *arguments: Any) -> None:
        if self.phase_step == 2:
            raise DataError("enough")
        take_step(self, *arguments)

    monkeypatch.setattr(PhaseRun, "take_step", failing)
    with pytest.raises(DataError, match="enough"):
        run("failed", eval_every=2, checkpoint_every=None)
    monkeypatch.undo()
    failed = run("failed", eval_every=2, checkpoint_every=None)
    assert lines(failed, "loss", "valid", "modality") == lines(whole, "loss", "valid", "modality")
