"""``modrwkv bench`` at sizes that take no time."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import click
import pytest
import torch
from click.testing import CliRunner

from modrwkv_core.benchmarking import busy, first_answer, linear, processors, startup, training
from modrwkv_core.benchmarking.random_weights import random_backbone
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.cli.bench import bench

LLAMA, FLA, OFFICIAL = "Llama (transformers)", "flash-linear-attention", "rwkv (PyPI)"
LLAMA_CPP = {"llama.cpp, bf16", "llama.cpp, q8_0"}
# Options, and the baselines that are measured or listed as missing.
COMPARED: dict[str, tuple[list[str], set[str]]] = {
    "wkv7": (["--tokens", "16", "--heads", "1", "--float32-decay", "--states", "3"], {FLA}),
    "layer": (["--size", "2x64", "--tokens", "8"], {FLA, LLAMA}),
    "train": (["--size", "2x64", "--batch-size", "1", "--tokens", "8", "--vocab-size", "40"], {FLA, LLAMA}),
    "prefill": (["--size", "2x64", "--tokens", "8", "--vocab-size", "40"], {OFFICIAL, LLAMA, *LLAMA_CPP}),
    "decode": (
        ["--size", "2x64", "--vocab-size", "40", "--batch-size", "1", "--batch-size", "2"],
        {FLA, LLAMA, OFFICIAL, *LLAMA_CPP},
    ),
}


def measure(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run a benchmark: its JSON and its output."""
    path = folder / "report.json"
    result = CliRunner().invoke(bench, [*arguments, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads(path.read_text())
    assert report["benchmark"] == arguments[0]
    return report, result.stdout


@pytest.mark.parametrize("name", COMPARED)
def test_ours_is_compared_with_baselines_and_the_roofline(name: str, tmp_path: Path) -> None:
    options, baselines = COMPARED[name]
    report, output = measure(tmp_path, name, *options, "--device", "cpu", "--threads", "1", "--seconds", "0")
    assert report["machine"]["threads"] == 1
    assert report["rows"][0]["name"].startswith("ours")
    assert all(row["best_seconds"] > 0 and row["roofline_bound_seconds"] > 0 for row in report["rows"])
    measured = {row["name"] for row in report["rows"] if not row["name"].startswith("ours")}
    assert measured | report["missing"].keys() == baselines
    for baseline, reason in report["missing"].items():
        assert f"not measured: {baseline}: {reason}" in output


def test_baselines_can_be_left_out_and_a_step_profiled(tmp_path: Path) -> None:
    options, _ = COMPARED["train"]
    report, output = measure(
        tmp_path, "train", *options, "--device", "cpu", "--no-baselines", "--profile", "--seconds", "0"
    )
    assert [row["name"] for row in report["rows"]] == ["ours"]
    assert report["missing"] == {}
    assert "aten::mm" in output


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("modality", ["image", pytest.param("audio", marks=pytest.mark.slow)])
def test_training_on_media_is_compared_with_baselines(modality: str, tmp_path: Path) -> None:
    sizes = ["--size", "1x64", "--encoder-size", "1x64", "--image-size", "32", "--batch-size", "2", "--steps", "1"]
    report, output = measure(
        tmp_path, "multimodal-train", *sizes, "--modality", modality, "--device", "cpu", "--seconds", "0"
    )
    training = [row for row in report["rows"] if row["work"] == "training"]
    names = {row["name"] for row in training} | report["missing"].keys()
    assert names == {"ours", "plain PyTorch loop", "nanoVLM's recipe"}
    assert ("nanoVLM's recipe" in report["missing"]) == (modality == "audio")
    assert [row["name"] for row in report["rows"] if row["work"] == "loading"] == ["0 workers", "1 workers"]
    for row in report["rows"]:
        assert row["tokens_per_second"] > row["samples_per_second"] > 0
        assert 0 <= row["padding"] < 1
    assert training[0]["padding"] == 0
    for row in training:
        assert row["device_busy"] == 1 - row["data_wait"]
        assert row["mfu"] is row["peak_memory_gib"] is None
    assert "tokens/s" in output


def test_align_trains_less_and_baselines_can_be_left_out(tmp_path: Path) -> None:
    sizes = ["--size", "1x64", "--encoder-size", "1x64", "--image-size", "32", "--batch-size", "2", "--steps", "1"]
    options = ["--train", "align", "--workers", "0", "--dtype", "bfloat16", "--no-baselines", "--device", "cpu"]
    report, _ = measure(tmp_path, "multimodal-train", *sizes, *options, "--seconds", "0")
    assert [(row["work"], row["name"]) for row in report["rows"]] == [("training", "ours"), ("loading", "0 workers")]
    assert report["settings"]["trains"] == "align"


@pytest.mark.slow
def test_costs_of_multimodal_prompts_are_compared_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("modrwkv_transformer")
    sizes = ["--size", "1x64", "--encoder-size", "1x64", "--image-size", "32"]
    grid = ["--contexts", "16,32", "--pictures", "1,99", "--batches", "1,2", "--plots", str(tmp_path / "plots")]
    report, output = measure(tmp_path, "multimodal", *sizes, *grid, "--device", "cpu", "--seconds", "0")
    rows = {
        (row["work"], row["name"], row["context"], row["pictures"], row["batch_size"]): row for row in report["rows"]
    }
    cells = [(16, 1, 1), (32, 1, 1), (32, 99, 1), (16, 1, 2)]
    works = ("prefill", "decoding", "training step")
    assert rows.keys() == {(work, name, *cell) for work in works for name in ("rwkv7", "transformer") for cell in cells}
    for (work, _, context, pictures, batch_size), row in rows.items():
        assert row["status"] == ("no room" if pictures == 99 else "measured")
        assert row["energy_joules"] is None
        if pictures == 1:
            assert row["tokens"] == batch_size * (8 if work == "decoding" else context)
            assert row["best_seconds"] <= row["median_seconds"]
            assert row["rounds"] >= 3
    ours, theirs = (
        int(report["settings"][f"parameters of {name}"].replace(",", "")) for name in ("rwkv7", "transformer")
    )
    assert ours == pytest.approx(theirs, rel=0.1)
    assert "no room: the pictures leave no token for a question" in output
    assert "time of prefill over context: " in output
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "batch-size.svg",
        "context.svg",
        "pictures.svg",
    ]


@pytest.mark.parametrize("values", ["512,", "0", "2,many"])
def test_lists_of_other_things_are_refused(values: str) -> None:
    result = CliRunner().invoke(bench, ["multimodal", "--contexts", values])
    assert result.exit_code == 2
    assert "is not a list of positive whole numbers" in result.stderr


def test_linear_layers_are_compared_with_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "CASES", [(1, 32, 64, 1.0), (70, 64, 32, 0.25)])
    report, _ = measure(tmp_path, "linear", "--threads", "1", "--seconds", "0")
    assert [(row["work"], row["name"]) for row in report["rows"]] == [
        ("1 x 32 x 64, 100% not zero", "ours"),
        ("1 x 32 x 64, 100% not zero", "torch"),
        ("70 x 64 x 32, 25% not zero", "ours"),
        ("70 x 64 x 32, 25% not zero", "torch"),
    ]


def test_errors_are_those_of_rounding(tmp_path: Path) -> None:
    report, _ = measure(tmp_path, "accuracy", "--size", "2x64", "--vocab-size", "40", "--device", "cpu")
    errors = {(row["work"], row["name"]): row["relative_error"] for row in report["rows"]}
    exact = errors["wkv7, float32, hard inputs", "ours, torch"]
    assert exact.keys() == {"y", "state", "dr", "dlog_w", "dk", "dv", "da", "db", "dstate"}
    assert 0 < max(exact.values()) < 1e-5
    rounded = errors["wkv7, bfloat16, hard inputs", "ours, torch"]
    assert 1e-4 < rounded["y"] < 1e-2


def test_start_up_is_measured_beside_its_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        startup, "CASES", (("nothing", ("-c", "pass"), 0.3), ("a loop", ("-c", "sum(range(10**6))"), None))
    )
    report, output = measure(tmp_path, "startup", "--seconds", "0")
    assert [(row["work"], row["budget_seconds"]) for row in report["rows"]] == [("nothing", 0.3), ("a loop", None)]
    assert all(row["best_seconds"] > 0 for row in report["rows"])
    assert "300 ms" in output


@pytest.mark.slow
def test_fresh_processes_answer_with_a_picture(tmp_path: Path) -> None:
    report, _ = measure(tmp_path, "first-answer", "--size", "1x64", "--device", "cpu", "--processes", "2")
    parts = ["until loaded", *first_answer.ANSWERS]
    assert [(row["work"], row["name"]) for row in report["rows"]] == [
        (f"process {number}", part) for number in (1, 2) for part in parts
    ]
    assert all(row["value"] > 0 for row in report["rows"])
    assert [row["name"] for row in report["rows"] if row["is_met"] is not None] == ["first answer"]


def test_processors_are_measured_beside_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "CLIP_SECONDS", 1)
    report, _ = measure(tmp_path, "processors", "--seconds", "0")
    names = {row["name"] for row in report["rows"]}
    assert {"decoding alone", "siglip2", "whisper"} <= names
    assert {row["budget_seconds"] for row in report["rows"]} == {1 / 150, 1 / 200}


def test_a_busy_core_is_measured_under_every_wait_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def decoder(checkpoint: object, threads: int, chosen: dict[str, str]) -> Any:
        asked.append(chosen)
        return busy.contextlib.nullcontext(len(asked))

    core = {"busy": False}

    @busy.contextlib.contextmanager
    def busy_core() -> Any:
        core["busy"] = True
        yield
        core["busy"] = False

    monkeypatch.setattr(busy, "_decoder", decoder)
    monkeypatch.setattr(busy, "_busy_core", busy_core)
    monkeypatch.setattr(busy, "_turn", lambda number: 0.01 * number * (4 if core["busy"] else 1))
    report, output = measure(tmp_path, "busy", "--size", "2x64", "--spin-count", "7", "--seconds", "0")
    assert asked == [{}, {"OMP_WAIT_POLICY": "passive"}, {"GOMP_SPINCOUNT": "7"}]
    assert [(row["work"], row["name"], row["median_seconds"]) for row in report["rows"]] == [
        ("idle", "neither set", 0.01),
        ("idle", "OMP_WAIT_POLICY=passive", 0.02),
        ("idle", "GOMP_SPINCOUNT=7", 0.03),
        ("one core busy", "neither set", 0.04),
        ("one core busy", "OMP_WAIT_POLICY=passive", 0.08),
        ("one core busy", "GOMP_SPINCOUNT=7", 0.12),
    ]
    assert "speed kept, GOMP_SPINCOUNT=7 25%" in output


@pytest.mark.slow
def test_a_process_decodes_with_the_environment_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_backbone(ModelSize(1, 64, 40), tmp_path / "model.pth")
    monkeypatch.setattr(busy, "TURN", 0.0)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with busy._decoder(tmp_path / "model.pth", 1, {"GOMP_SPINCOUNT": "7"}) as decoder, busy._busy_core():
        environment = Path(f"/proc/{decoder.pid}/environ").read_text().split("\0")
        assert "GOMP_SPINCOUNT=7" in environment
        assert not [variable for variable in environment if variable.startswith("OMP_WAIT_POLICY=")]
        assert busy._turn(decoder) > 0


def test_every_command_explains_itself() -> None:
    for name in bench.list_commands(click.Context(bench)):
        assert CliRunner().invoke(bench, [name, "--help"]).exit_code == 0


def test_a_size_of_another_form_is_an_error() -> None:
    result = CliRunner().invoke(bench, ["decode", "--size", "large", "--device", "cpu"])
    assert "the size 'large' is not LAYERSxHIDDEN_SIZE" in str(result.exception)


@pytest.mark.parametrize("name", ["wkv7", "multimodal"])
def test_less_than_no_time_is_an_error(name: str) -> None:
    result = CliRunner().invoke(bench, [name, "--seconds", "-1"])
    assert result.exit_code == 2
    assert "--seconds" in result.output


def test_launch_parameters_need_a_gpu() -> None:
    result = CliRunner().invoke(bench, ["wkv7-tuning", "--device", "cpu"])
    assert "launch parameters exist on GPUs only" in str(result.exception)


MEASURING = {
    "engine": "engine.bench_engine",
    "first-answer": "first_answer.bench_first_answer",
    "server": "server.bench_server",
    "server-baselines": "server_baselines.bench_server_baselines",
    "multimodal": "costs.measuring.bench_multimodal",
}


@pytest.mark.parametrize("name", MEASURING)
def test_options_are_the_arguments_of_what_measures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where measuring takes too long for a test; an autospec refuses arguments that the function does not take."""
    module, _, function = f"modrwkv_core.benchmarking.{MEASURING[name]}".rpartition(".")
    measuring = create_autospec(getattr(import_module(module), function))
    monkeypatch.setattr(f"{module}.{function}", measuring)
    assert CliRunner().invoke(bench, [name, "--device", "cpu"], catch_exceptions=False).exit_code == 0
    assert measuring.call_args.kwargs["device"] == "cpu"


def test_defaults_depend_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = create_autospec(training.bench_train)
    monkeypatch.setattr(training, "bench_train", measuring)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for options in ([], ["--device", "cpu"], ["--dtype", "float32", "--tokens", "7"]):
        assert CliRunner().invoke(bench, ["train", *options], catch_exceptions=False).exit_code == 0
    given = [(call.args[0], call.kwargs) for call in measuring.call_args_list]
    sizes = [(size.num_layers, size.hidden_size, size.vocab_size) for size, _ in given]
    assert sizes == [(24, 1024, 65536), (4, 256, 512), (24, 1024, 65536)]
    assert [(kwargs["device"], kwargs["dtype"], kwargs["batch_size"], kwargs["tokens"]) for _, kwargs in given] == [
        ("cuda", torch.bfloat16, 8, 4096),
        ("cpu", torch.float32, 4, 256),
        ("cuda", torch.float32, 8, 7),
    ]
