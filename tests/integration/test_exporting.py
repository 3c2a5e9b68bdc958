"""Trained runs exported for other engines, which answer as the session does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from modrwkv_core.cli.export import export
from modrwkv_core.errors import CheckpointError
from modrwkv_core.inference.loading import load
from modrwkv_core.interop.backbone import read_backbone
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loop import train

Manifest = Callable[..., Path]
QUESTION = "Say yes 2 times."
MODALITY_LEFT_OUT = "left out: modality series (encoder, compressor, adapter): the exported model takes text only"


def trained(manifest: Path, folder: Path) -> Path:
    train(load_manifest(manifest, ()), folder, resume=False, device="cpu", progress_bar=False)
    return folder


def exported(*words: object) -> list[str]:
    result = CliRunner().invoke(export, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def chat(path: Path, question: str, tokens: int) -> str:
    """Ask llama.cpp, with the chat template of the file."""
    xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp (PyPI xllamacpp) is not installed")
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.verbosity = 512, 1, 0, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup = False
    request = {"messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0}
    answer: dict[str, Any] = xllamacpp.Server(params).handle_chat_completions(request)
    content: str = answer["choices"][0]["message"]["content"]
    return content


def test_llama_cpp_answers_as_the_session_does(tiny_manifest: Manifest, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra modrwkv[gguf] is not installed")
    lora = {"name": "more", "train": ["backbone"], "lr": 1e-2, "steps": 4, "finetuning": {"type": "lora", "rank": 4}}
    pretrain = {"name": "pretrain", "train": ["backbone"], "lr": 1e-2, "steps": 30}
    talks = {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 9}
    run = trained(tiny_manifest(data=talks, phases=[pretrain, lora]), tmp_path / "run")
    written = exported(run, tmp_path / "model.gguf", "--to", "gguf")
    assert written == [
        f"wrote {tmp_path / 'model.gguf'}: RWKV-7, 2 layers of hidden size 64, 0.2 million parameters, matrices in f32",
        MODALITY_LEFT_OUT,
        "left out: head forecast (forecast): only the next token is predicted",
    ]
    ours = load(run, device="cpu").generate(QUESTION, max_tokens=12)
    assert "yes" in ours
    assert chat(tmp_path / "model.gguf", QUESTION, 12) == ours


def test_hf_is_the_layout_of_flash_linear_attention(tiny_manifest: Manifest, tmp_path: Path) -> None:
    run = trained(
        tiny_manifest(phases=[{"name": "only", "train": ["backbone"], "lr": 1e-3, "steps": 2}]), tmp_path / "a"
    )
    written = exported(run, tmp_path / "hf", "--to", "hf")
    assert written[1] == MODALITY_LEFT_OUT
    assert written[-1].startswith("left out: the tokenizer")
    ours = read_tensors(run / "checkpoints" / "step-00000002" / "backbone.safetensors")
    returned = read_backbone(str(tmp_path / "hf"))
    assert ours.keys() == returned.keys()
    assert all(bool((ours[name] == tensor).all()) for name, tensor in returned.items())


def test_a_trained_state_is_left_out_and_said_so(tiny_manifest: Manifest, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra modrwkv[gguf] is not installed")
    state = {"name": "tune", "train": ["backbone"], "lr": 1e-2, "steps": 2, "finetuning": {"type": "state"}}
    run = trained(tiny_manifest(phases=[state]), tmp_path / "run")
    written = exported(run, tmp_path / "model.gguf", "--to", "gguf", "--outtype", "q8_0")
    assert written[0].endswith("matrices in q8_0")
    assert any(line.startswith("left out: the trained initial state") for line in written)


def test_runs_without_a_language_model_or_an_rwkv7_are_refused(tiny_manifest: Manifest, tmp_path: Path) -> None:
    phases = [{"name": "only", "train": ["backbone"], "lr": 1e-3, "steps": 1}]
    windows = {
        "source": "csv_windows",
        "path": "waves.csv",
        "columns": ["sine"],
        "context_length": 24,
        "horizon": 6,
        "stride": 30,
    }
    only_forecasts = tiny_manifest(
        heads={"forecast": {"type": "forecast", "horizon": 6}}, phases=phases, data={"train": [windows]}
    )
    run = trained(only_forecasts, tmp_path / "forecasts")
    with pytest.raises(CheckpointError, match="has no head of type lm"):
        exported(run, tmp_path / "model.gguf", "--to", "gguf")
    transformer = tiny_manifest(
        backbone={"type": "transformer", "init": "scratch", "num_layers": 1, "hidden_size": 32, "num_heads": 2},
        phases=phases,
    )
    run = trained(transformer, tmp_path / "transformer")
    with pytest.raises(CheckpointError, match="not an RWKV-7"):
        exported(run, tmp_path / "model.gguf", "--to", "gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_outtype_is_for_gguf_only(tmp_path: Path) -> None:
    result = CliRunner().invoke(export, [str(tmp_path), str(tmp_path / "hf"), "--to", "hf", "--outtype", "f32"])
    assert result.exit_code == 2
    assert "--outtype goes with --to gguf" in result.output
