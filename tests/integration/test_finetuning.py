"""Runs that train low-rank updates or initial states, and what is loaded and exported of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.cli.convert import convert
from modrwkv_core.cli.generate import generate
from modrwkv_core.errors import CheckpointError, ManifestError
from modrwkv_core.inference.loading import load
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

Manifest = Callable[..., Path]
PRETRAIN = {"name": "pretrain", "train": ["backbone"], "lr": 1e-3, "steps": 3}
LORA = {"name": "finetune", "train": ["backbone"], "lr": 1e-2, "steps": 6, "finetuning": {"type": "lora", "rank": 4}}
STATE = {"name": "finetune", "train": ["backbone"], "lr": 1e-1, "steps": 30, "finetuning": {"type": "state"}}
TALKS = {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 9}
QUESTION = [[Turn("user", (Text("Say yes 2 times."),))]]


@pytest.fixture
def text_manifest(tiny_manifest: Manifest) -> Manifest:
    """A manifest of a model that only reads text."""

    def write(**sections: Any) -> Path:
        return tiny_manifest(**({"modalities": {}, "heads": {"lm": {"type": "lm"}}, "data": TALKS} | sections))

    return write


def run(manifest: Path, folder: Path, *overrides: str, resume: bool = False) -> RunFolder:
    train(load_manifest(manifest, overrides), folder, resume=resume, device="cpu", progress_bar=False)
    return RunFolder(folder)


def tensors(checkpoint: Path, file: str) -> dict[str, Tensor]:
    return read_tensors(checkpoint / f"{file}.safetensors")


def logits(session: Session) -> Tensor:
    return session.prefill(QUESTION)[0]


def prompt(session: Session) -> Tensor:
    """The ids of the question, ``[1, T]``."""
    return session.conversations.prompt(QUESTION[0]).ids[None]


def invoke(command: click.Command, *words: object) -> str:
    return CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False).output


def tuned(folder: RunFolder) -> dict[str, Tensor]:
    """The official tensors of a run's backbone, updated by hand."""
    checkpoint = folder.latest()
    updates = tensors(checkpoint, "backbone")
    weights = {}
    for name, tensor in tensors(checkpoint, "backbone.frozen").items():
        layer = name.removesuffix(".base_layer.weight")
        if layer != name:
            low, high = (updates[f"{layer}.lora_{kind}.default.weight"] for kind in "AB")
            tensor = tensor + 32 / 4 * high @ low
        weights[name.replace(".base_layer.", ".")] = tensor
    return weights


def test_lora_moves_low_rank_matrices_alone_and_links_the_base(text_manifest: Manifest, tmp_path: Path) -> None:
    folder = run(text_manifest(phases=[PRETRAIN, LORA | {"checkpoint_every": 2}]), tmp_path / "run")
    pretrained, *finetuned = folder.steps()
    assert {"backbone.safetensors", "backbone.frozen.safetensors"} <= {path.name for path in finetuned[-1].iterdir()}
    assert len({(each / "backbone.frozen.safetensors").stat().st_ino for each in finetuned}) == 1
    before, after = tensors(pretrained, "backbone"), tensors(finetuned[-1], "backbone.frozen")
    assert before.keys() == {name.replace(".base_layer.", ".") for name in after}
    assert all(torch.equal(before[name.replace(".base_layer.", ".")], tensor) for name, tensor in after.items())
    updates = tensors(finetuned[-1], "backbone")
    assert {name.split(".")[-1] for name in updates} == {"weight"}
    assert all(".lora_" in name and tensor.abs().max() > 0 for name, tensor in updates.items())
    assert len(updates) == 2 * 2 * 6, "both matrices of the six layers of both blocks"


@pytest.mark.parametrize(
    "phase",
    [
        LORA | {"finetuning": {"type": "lora", "rank": 4, "dropout": 0.3}},
        LORA | {"precision": "bfloat16"},
        STATE | {"steps": 6},
        PRETRAIN | {"name": "finetune", "steps": 6, "optimizer": {"type": "muon", "weight_decay": 0.1}},
        PRETRAIN | {"name": "finetune", "steps": 6, "optimizer": {"type": "adamw8bit"}, "scheduler": {"type": "wsd"}},
        PRETRAIN | {"name": "finetune", "steps": 6, "ema": 0.5},
    ],
    ids=["lora", "lora in bfloat16", "state", "muon", "adamw8bit", "ema"],
)
def test_a_resumed_run_is_bit_identical(phase: dict[str, Any], text_manifest: Manifest, tmp_path: Path) -> None:
    manifest = text_manifest(phases=[PRETRAIN, phase | {"checkpoint_every": 2}])
    uninterrupted = run(manifest, tmp_path / "uninterrupted")
    resumed = RunFolder(tmp_path / "resumed")
    shutil.copytree(uninterrupted.path, resumed.path)
    shutil.rmtree(resumed.latest())
    assert resumed.latest().name == "step-00000007"
    run(manifest, resumed.path, resume=True)
    files = [path.name for path in uninterrupted.latest().glob("*.safetensors")]
    assert len(files) >= 2
    for name in files:
        assert (uninterrupted.latest() / name).read_bytes() == (resumed.latest() / name).read_bytes(), name


def test_a_lora_run_answers_and_is_exported_with_merged_weights(text_manifest: Manifest, tmp_path: Path) -> None:
    folder = run(text_manifest(phases=[PRETRAIN, LORA]), tmp_path / "run")
    expected = tuned(folder)
    exported = tmp_path / "merged.safetensors"
    invoke(convert, folder.path, exported)
    merged = read_tensors(exported)
    assert merged.keys() == expected.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, expected[name])
    judge = RWKV7.from_checkpoint(exported)
    session = load(folder.path, device="cpu")
    with torch.no_grad():
        hidden, _ = judge(judge.embed(prompt(session)))
        torch.testing.assert_close(logits(session)[0], judge.logits(hidden[0, -1]), atol=1e-4, rtol=1e-4)
    answered = torch.tensor([[*prompt(session)[0].tolist(), *b"yes"]])
    with torch.inference_mode(), next(iter(session.decoders.values())).start(session.prefill(QUESTION)[1]) as decoding:
        for token in b"yes":
            scores = decoding.step(torch.tensor([token]))
        hidden, _ = judge(judge.embed(answered))
        torch.testing.assert_close(scores[0], judge.logits(hidden[0, -1]), atol=1e-4, rtol=1e-4)


def test_full_training_after_lora_is_exported_whole(text_manifest: Manifest, tmp_path: Path) -> None:
    more = PRETRAIN | {"name": "more"}
    folder = run(text_manifest(phases=[LORA, more]), tmp_path / "run")
    assert not (folder.latest() / "backbone.frozen.safetensors").exists()
    session = load(folder.path, device="cpu")
    assert not any("lora" in name for name in session.model.state_dict())


def test_state_tuning_learns_with_all_weights_frozen(text_manifest: Manifest, tmp_path: Path) -> None:
    pretrain = PRETRAIN | {"lr": 1e-2, "steps": 30}
    state = STATE | {"data": [{"source": "chat", "path": "other.jsonl"}], "log_every": 1}
    manifest = text_manifest(phases=[pretrain, state])
    talks = (manifest.parent / "talks.jsonl").read_text()
    other = talks.replace("yes", "maybe").replace("Say maybe", "Say yes")
    (manifest.parent / "other.jsonl").write_text(other)
    folder = run(manifest, tmp_path / "run")
    before, after = (tensors(folder.steps()[0], "backbone"), tensors(folder.latest(), "backbone.frozen"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(tensors(folder.latest(), "backbone")) == {
        f"initial_state.{name}" for name in ("matrix", "time_shift", "channel_shift")
    }
    losses = [float(line["loss"]) for line in read_metrics(folder.path) if line["phase"] == "finetune"]
    assert losses[-1] < 0.8 * losses[0], losses


def test_a_trained_state_is_a_file_that_other_runs_take(text_manifest: Manifest, tmp_path: Path) -> None:
    pretrained = run(text_manifest(phases=[PRETRAIN]), tmp_path / "pretrained")
    folder = run(text_manifest(phases=[PRETRAIN, STATE]), tmp_path / "run")
    file = tmp_path / "yes.safetensors"
    invoke(convert, folder.path, file, "--to", "state")
    assert RWKV7State.load(file).batch_size == 1
    own, swapped, plain = load(folder.path), load(pretrained.path, state=file), load(pretrained.path)
    assert torch.equal(logits(own), logits(swapped))
    assert not torch.allclose(logits(own), logits(plain), atol=1e-3)
    said = [
        invoke(generate, path, "Say no 1 times.", "--max-tokens", "4", *options)
        for path, options in ((folder.path, []), (pretrained.path, ["--state", file]))
    ]
    assert said[0] == said[1]
    # The state begins every conversation, and is not part of the exported weights.
    with torch.no_grad():
        judge = plain.model.backbone(plain.model.backbone.embed(prompt(plain)), state=RWKV7State.load(file))[0]
        torch.testing.assert_close(logits(own)[0], plain.model.backbone.logits(judge[0, -1]))
    weights = tmp_path / "weights.pth"
    invoke(convert, folder.path, weights)
    assert read_tensors(weights).keys() == tensors(pretrained.latest(), "backbone").keys()


def test_a_phase_ends_with_the_moving_average_of_its_weights(text_manifest: Manifest, tmp_path: Path) -> None:
    valid = TALKS | {"valid": TALKS["train"]}
    phase = PRETRAIN | {"steps": 4, "lr": 1e-2, "checkpoint_every": 1}
    plain = run(text_manifest(phases=[phase], data=valid), tmp_path / "plain")
    averaged = run(text_manifest(phases=[phase | {"ema": 0.3}], data=valid), tmp_path / "averaged")
    before, last = averaged.steps()[-2:]
    averages = {
        name.removeprefix("ema/backbone:"): tensor
        for name, tensor in tensors(before, "optimizer").items()
        if name.startswith("ema/backbone:")
    }
    taken, ended = tensors(plain.latest(), "backbone"), tensors(last, "backbone")
    assert averages.keys() == taken.keys() == ended.keys()
    raw, expected = (tensors(each, "backbone") for each in (before, plain.steps()[-2]))
    assert all(torch.equal(raw[name], expected[name]) for name in expected), "averaging leaves the steps alone"
    for name, tensor in ended.items():
        torch.testing.assert_close(tensor, 0.3 * averages[name] + 0.7 * taken[name])
    losses = [read_metrics(folder.path)[-1]["valid/lm"] for folder in (plain, averaged)]
    assert losses[0] != losses[1]


def test_weights_are_frozen_by_globs(text_manifest: Manifest, tmp_path: Path) -> None:
    some = PRETRAIN | {"name": "some", "freeze": ["backbone.emb.*", "backbone.blocks.0.*"]}
    folder = run(text_manifest(phases=[PRETRAIN, some]), tmp_path / "run")
    before, after = (tensors(checkpoint, "backbone") for checkpoint in folder.steps())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("emb.", "blocks.0."))}.isdisjoint(moved)
    assert {"head.weight", "ln_out.weight", "blocks.1.ffn.key.weight", "blocks.1.att.w0"} <= moved


def test_low_rank_updates_are_frozen_by_the_globs_of_their_layers(text_manifest: Manifest, tmp_path: Path) -> None:
    folder = run(text_manifest(phases=[LORA | {"freeze": ["backbone.blocks.0.*"]}]), tmp_path / "run")
    updates = tensors(folder.latest(), "backbone")
    moved = {name.split(".")[1] for name, tensor in updates.items() if "lora_B" in name and tensor.abs().max() > 0}
    assert moved == {"1"}


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (["backbone.block.0.*"], r"phase pretrain has no weights backbone\.block\.0\.\* that could be frozen"),
        (["heads.*"], r"no weights heads\.\*"),
        (["*"], "phase pretrain freezes all that it trains"),
    ],
)
def test_globs_that_freeze_nothing_or_all_are_refused(
    freeze: list[str], message: str, text_manifest: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(ManifestError, match=message):
        run(text_manifest(phases=[PRETRAIN | {"freeze": freeze}]), tmp_path / "run")


def test_a_run_without_a_trained_state_has_none_to_write(text_manifest: Manifest, tmp_path: Path) -> None:
    folder = run(text_manifest(phases=[PRETRAIN]), tmp_path / "run")
    with pytest.raises(CheckpointError, match="not a run with a trained state"):
        invoke(convert, folder.path, tmp_path / "state.safetensors", "--to", "state")
