"""Several processes train one model: the same losses, samples and weights as one process, and failures that end all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training import world
from modrwkv_core.training.launch import launch
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train

MANIFEST = """
modrwkv: 1
name: together
tokenizer: {type: bytes}
backbone: {type: rwkv7, num_layers: 2, hidden_size: 64}
modalities:
  image:
    encoder:
      type: siglip2
      init: scratch
      image_size: 16
      patch_size: 4
      hidden_size: 32
      num_layers: 1
      num_heads: 2
      intermediate_size: 64
    compressor: {type: conv1d, kernel: 4, stride: 2}
    adapter: {type: mlp, expansion: 2}
  series:
    encoder: {type: wavenet, hidden_size: 16, num_layers: 3}
    compressor: {type: conv1d, kernel: 8, stride: 8}
    adapter: {type: mlp, expansion: 2}
heads:
  lm: {type: lm}
  forecast: {type: forecast, horizon: 24, loss_weight: 0.5}
data:
  train:
    - {source: digits_qa, turns: 1}
    - {source: measured_series, repeat: 0.5}
  valid: [{source: measured_series, part: test, stride: 24}]
  batch_size: 3
phases:
  - {name: pretrain, train: [compressor, adapter, heads], lr: 2.0e-3, steps: 3, log_every: 1}
  - name: finetune
    train: [image, series.adapter, backbone, heads]
    lr: 1.0e-3
    steps: 6
    log_every: 1
    checkpoint_every: 2
"""
PRELOADED = (
    __name__,
    "modrwkv_demo.digits_qa",
    "modrwkv_demo.measured_series",
    "modrwkv_siglip2.encoder",
    "modrwkv_siglip2.processor",
)
"""What takes long to import, once for all processes."""

PATIENCE = 600.0

pytestmark = pytest.mark.filterwarnings("ignore:after phase .* the model does not use its series:UserWarning")


def _process(rank: int, size: int, port: int, results: Any, work: Callable[[int], Any], argument: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    world.TIMEOUT = timedelta(seconds=120)
    try:
        work(argument[rank] if isinstance(argument, list) else argument)
    except ModRWKVError as error:
        results.put((rank, type(error).__name__, str(error)))
    else:
        results.put((rank, "", ""))


def together(work: Callable[[Any], Any], argument: Any, size: int = 2) -> dict[int, tuple[str, str]]:
    """Run ``work`` in ``size`` processes; return the type and message of what each raised, if it lived to tell."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    results = context.Queue()
    processes = [
        context.Process(target=_process, args=(rank, size, port, results, work, argument)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode is not None, "a process hangs"
    told = {}
    for process in processes:
        if process.exitcode == 0:
            rank, kind, message = results.get(timeout=PATIENCE)
            told[rank] = (kind, message)
    return told


def run_training(arguments: tuple[Path, Path, tuple[str, ...]]) -> None:
    manifest, run, overrides = arguments
    resume = run.exists()
    train(load_manifest(manifest, overrides), run, resume=resume, device="cpu", progress_bar=False)


def run_until_death(arguments: tuple[Path, Path, tuple[str, ...]]) -> None:
    if os.environ["RANK"] == "1":
        from modrwkv_core.training.phase import PhaseRun

        PhaseRun.take_step = lambda *_: os._exit(9)  # type: ignore[method-assign]
    run_training(arguments)


def run_with_a_broken_record(arguments: tuple[Path, Path, tuple[str, ...]]) -> None:
    from modrwkv_core.errors import DataError
    from modrwkv_core.training.phase import PhaseRun

    load = PhaseRun.batches

    def batches(phase: PhaseRun) -> Iterator[Any]:
        for index, batch in enumerate(load(phase)):
            if index == 2 and os.environ["RANK"] == "1":
                raise DataError("record 7 is broken")
            yield batch

    PhaseRun.batches = batches  # type: ignore[method-assign]
    run_training(arguments)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parallel") / "manifest.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture(scope="module")
def alone(manifest: Path) -> Path:
    """A run of one process."""
    run = manifest.parent / "alone"
    run_training((manifest, run, ()))
    return run


def losses(run: Path) -> list[dict[str, float]]:
    """Return what was logged, without what depends on time and memory."""
    kept = ("step", "loss", "gradient_norm", "update_norm", "feature_norm", "valid")
    return [{name: float(value) for name, value in line.items() if name.startswith(kept)} for line in read_metrics(run)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = RunFolder(run).latest()
    return {
        f"{path.name}:{name}": tensor
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, tensor in read_tensors(path).items()
    }


def assert_same(run: Path, expected: Path) -> None:
    for line, other in zip(losses(run), losses(expected), strict=True):
        assert line == pytest.approx(other, rel=1e-4, abs=1e-5)
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-5) if "loss" in line else True
    ours, theirs = weights(run), weights(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(
            tensor, theirs[name], rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("replicate", ()),
        # Of three conversations a process has two or one, and computes them one by one, or has nothing to do.
        pytest.param(
            "shard",
            ("parallel.strategy=shard", "parallel.micro_batch_size=1", "data.workers=1"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_processes_learn_what_one_learns(
    manifest: Path, alone: Path, name: str, overrides: tuple[str, ...]
) -> None:
    run = manifest.parent / name
    assert together(run_training, (manifest, run, overrides)) == {0: ("", ""), 1: ("", "")}
    assert_same(run, alone)


@pytest.mark.slow
def test_two_processes_share_a_budget_of_tokens(manifest: Path) -> None:
    steps = ("phases.pretrain.steps=2", "phases.finetune.steps=3")
    budget = (*steps, "data.batch_size=null", "data.max_tokens_per_batch=400", "data.on_error=skip")
    cache = (f"data.feature_cache={{path: {manifest.parent / 'features'}}}",)
    run, expected = manifest.parent / "budget", manifest.parent / "budget-alone"
    run_training((manifest, expected, budget))
    micro = ("parallel.max_tokens_per_micro_batch=150", "data.workers=1")
    assert together(run_training, (manifest, run, budget + micro + cache)) == {0: ("", ""), 1: ("", "")}
    assert_same(run, expected)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(manifest: Path, alone: Path) -> None:
    run = manifest.parent / "elastic"
    shutil.copytree(alone, run)
    for step, (size, overrides) in {5: (2, ("parallel.strategy=shard",)), 7: (1, ("data.workers=1",))}.items():
        for checkpoint in RunFolder(run).steps():
            if int(checkpoint.name[5:]) > step:
                shutil.rmtree(checkpoint)
        if size == 1:
            run_training((manifest, run, overrides))
        else:
            assert set(together(run_training, (manifest, run, overrides), size).values()) == {("", "")}
        assert_same(run, alone)


def test_a_process_that_dies_ends_the_others(manifest: Path) -> None:
    told = together(run_until_death, (manifest, manifest.parent / "dead", ()))
    assert told.keys() == {0}
    kind, message = told[0]
    assert kind == "PeerError"
    assert "another process of this run has ended" in message


def test_a_broken_record_of_one_process_stops_all_with_a_checkpoint(manifest: Path) -> None:
    run = manifest.parent / "broken"
    told = together(run_with_a_broken_record, (manifest, run, ()))
    assert told[1][0] == "DataError"
    assert told[0][0] == "PeerError"
    assert "process 1 of 2 could not load its batch" in told[0][1]
    assert RunFolder(run).latest().name == "step-00000002"


def test_processes_with_different_manifests_do_not_start(manifest: Path) -> None:
    run = manifest.parent / "different"
    told = together(run_training, [(manifest, run, ()), (manifest, run, ("seed=1",))])
    kind, message = told[0]
    assert kind == "PeerError"
    assert "process 1 of 2 was started with another manifest" in message
    assert not RunFolder(run).steps()


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["train", "missing.yaml"], 2)])
def test_the_launcher_returns_the_exit_code(arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(arguments, 2) == code
    assert "Traceback" not in capfd.readouterr().err


def test_an_incomplete_launcher_is_named(monkeypatch: pytest.MonkeyPatch, manifest: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModRWKVError, match="not which this is: 'RANK'"):
        run_training((manifest, tmp_path / "run", ()))


def environment(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_places_come_from_torchrun_or_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    from modrwkv_core.training.world import _places

    slurm = {"SLURM_NTASKS": "16", "SLURM_PROCID": "9", "SLURM_LOCALID": "1"}
    for values, expected in (
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, None),
        ({"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}, (5, 8, 1)),
        (slurm | {"SLURM_STEP_ID": "0"}, (9, 16, 1)),
        (slurm, None),  # the shell of an allocation
    ):
        environment(monkeypatch, values)
        assert _places() == expected
