"""Whole runs of a tiny model: phases, resumption after a kill, what is trained and what stays."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from modrwkv_kernels import available_backends
from torch import Tensor

from modrwkv_core.backbones.rwkv7.config import RWKV7Config
from modrwkv_core.backbones.rwkv7.model import RWKV7
from modrwkv_core.errors import CheckpointError, ManifestError, ModRWKVError
from modrwkv_core.inference.loading import load
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import TrainState
from modrwkv_core.storage.tensors import read_tensors, write_tensors
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

ALL = ["encoder", "compressor", "adapter", "backbone", "heads"]
ALIGN = {"name": "align", "train": ALL, "lr": 1e-2, "steps": 5}
Manifest = Callable[..., Path]


def run(manifest: Path, folder: Path, *overrides: str, resume: bool = False) -> RunFolder:
    train(load_manifest(manifest, overrides), folder, resume=resume, device="cpu", progress_bar=False)
    return RunFolder(folder)


def weights(checkpoint: Path, part: str) -> dict[str, Tensor]:
    return read_tensors(checkpoint / f"{part}.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def command(*words: str) -> Sequence[str]:
    return [sys.executable, "-c", "from modrwkv_core.cli.main import main; main()", *words]


def test_a_killed_run_goes_on_bit_for_bit(tiny_manifest: Manifest, tmp_path: Path) -> None:
    manifest = tiny_manifest()
    uninterrupted = run(manifest, tmp_path / "uninterrupted")
    killed = RunFolder(tmp_path / "killed")
    process = subprocess.Popen(
        command("train", str(manifest), "--run", str(killed.path), "--quiet"),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not any(path.name == "step-00000006" for path in killed.steps()):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not TrainState.read(killed.latest()).phase_done, "killed in the middle of the second phase"
    with (killed.metrics).open("a") as file:
        file.write('{"step": 8, "cut by the ki')
    run(manifest, killed.path, resume=True)
    for path in uninterrupted.latest().glob("*.safetensors"):
        assert path.read_bytes() == (killed.latest() / path.name).read_bytes(), path.name
    losses = [
        [(line["step"], line["loss"]) for line in read_metrics(folder.path)] for folder in (uninterrupted, killed)
    ]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, 11))


def test_a_run_resumed_between_phases_draws_the_same_random_numbers(tiny_manifest: Manifest, tmp_path: Path) -> None:
    heads = {"lm": {"type": "lm"}, "forecast": {"type": "forecast", "horizon": 6, "dropout": 0.5}}
    manifest = tiny_manifest(heads=heads, phases=[ALIGN, ALIGN | {"name": "more"}])
    uninterrupted = run(manifest, tmp_path / "uninterrupted")
    broken = RunFolder(tmp_path / "broken")
    shutil.copytree(uninterrupted.path, broken.path)
    shutil.rmtree(broken.latest())
    assert TrainState.read(broken.latest()).phase_done
    run(manifest, broken.path, resume=True)
    for path in uninterrupted.latest().glob("*.safetensors"):
        assert path.read_bytes() == (broken.latest() / path.name).read_bytes(), path.name


def test_phase_two_starts_from_the_adapter_of_phase_one(tiny_manifest: Manifest, tmp_path: Path) -> None:
    still = {"name": "finetune", "train": ["adapter", "backbone"], "lr": 1e-12, "steps": 1}
    folder = run(tiny_manifest(phases=[ALIGN, still]), tmp_path / "run")
    torch.manual_seed(0)
    fresh = assemble(load_manifest(tiny_manifest(phases=[ALIGN])), pretrained=False).parts()["series.adapter"]
    first, second = (weights(checkpoint, "series.adapter") for checkpoint in folder.steps())
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=1e-9)
        assert not torch.allclose(tensor, fresh.state_dict()[name], atol=1e-4), f"phase one trained {name}"


def test_a_phase_changes_what_it_lists_and_nothing_else(tiny_manifest: Manifest, tmp_path: Path) -> None:
    manifest = tiny_manifest(phases=[ALIGN | {"name": "one"}, ALIGN | {"name": "two", "train": ["series.adapter"]}])
    first, second = run(manifest, tmp_path / "run").steps()
    changed = {path.stem for path in first.glob("*.safetensors") if path.name != "optimizer.safetensors"}
    changed = {part for part in changed if not same(weights(first, part), weights(second, part))}
    assert changed == {"series.adapter"}


def test_the_loss_falls(tiny_manifest: Manifest, tmp_path: Path) -> None:
    phase = ALIGN | {"lr": 3e-3, "steps": 60}
    folder = run(tiny_manifest(phases=[phase]), tmp_path / "run", "phases.align.log_every=10")
    losses = [float(line["loss/lm"]) for line in read_metrics(folder.path)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_run_answers_and_forecasts(tiny_manifest: Manifest, tmp_path: Path) -> None:
    folder = run(tiny_manifest(), tmp_path / "run")
    assert json.loads(folder.lock.read_text())["kernels"]["wkv7"] in available_backends()
    session = load(folder.path, device="cpu")
    assert session.generate("Say yes 2 times.", max_tokens=5) == "".join(
        session.stream("Say yes 2 times.", max_tokens=5)
    )
    series = torch.sin(torch.arange(48) / 4).numpy() * 100 + 500
    assert session.forecast(series, 4).points.shape == (4, 1)
    assert session.forecast(series, 15).points.shape == (15, 1)
    both = session.forecast(torch.stack([torch.arange(48.0), torch.arange(48.0) ** 0.5], dim=1).numpy(), 6).points
    assert both.shape == (6, 2)
    assert abs(both[:, 0].mean() - 23.5) < 60, "an untrained forecast is near the series, in its units"


def test_variables_that_override_manifests_leave_a_trained_run_alone(
    tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run(tiny_manifest(phases=[ALIGN]), tmp_path / "run")
    monkeypatch.setenv("MODRWKV__BACKBONE__WIDTH", "128")
    assert load(folder.path, device="cpu").model.backbone.hidden_size == 64


def test_a_folder_with_a_run_is_not_overwritten(tiny_manifest: Manifest, tmp_path: Path) -> None:
    manifest = tiny_manifest(phases=[ALIGN])
    folder = run(manifest, tmp_path / "run")
    with pytest.raises(CheckpointError, match="already holds a run"):
        run(manifest, folder.path)
    with pytest.raises(CheckpointError, match="another manifest"):
        run(manifest, folder.path, "phases.align.lr=1", resume=True)
    before = folder.steps()
    run(manifest, folder.path, resume=True)
    assert folder.steps() == before, "a finished run has nothing left to do"


def test_a_loss_that_is_not_finite_stops_before_the_step(tiny_manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ModRWKVError, match=r"not finite in step .*the step was not taken"):
        run(
            tiny_manifest(
                phases=[ALIGN | {"lr": 1e30, "scheduler": {"type": "cosine", "warmup_steps": 0}, "max_grad_norm": None}]
            ),
            tmp_path / "run",
        )


def test_a_phase_without_weights_to_train_is_named(tiny_manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"phase align trains heads\.lm, which have no weights"):
        run(tiny_manifest(), tmp_path / "run", "phases.align.train=[heads.lm]")


def test_pretrained_weights_are_loaded_once_and_hashed_in_the_lock(tiny_manifest: Manifest, tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = tmp_path / "backbone.safetensors"
    write_tensors(RWKV7(RWKV7Config(num_layers=2, hidden_size=64), 320).state_dict(), published)
    frozen = {"name": "align", "train": ["adapter", "heads"], "lr": 1e-3, "steps": 2}
    manifest = tiny_manifest(backbone={"type": "rwkv7", "weights": str(published)}, phases=[frozen])
    folder = run(manifest, tmp_path / "run")
    lock = json.loads(folder.lock.read_text())
    assert lock["weights"] == {"backbone/backbone.safetensors": hashlib.sha256(published.read_bytes()).hexdigest()}
    assert same(weights(folder.latest(), "backbone"), read_tensors(published))
    published.unlink()
    assert isinstance(load(folder.path, device="cpu").generate("Say yes 1 times.", max_tokens=3), str)
