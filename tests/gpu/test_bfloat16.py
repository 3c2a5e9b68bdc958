"""Answers with weights in bfloat16, from the run's folder to the program, beside those in float32."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from modrwkv_core.cli.generate import generate
from modrwkv_core.errors import ComponentError
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.loading import load
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.decoding import BackboneDecoder
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.new_run import write_new_run
from modrwkv_core.model.run import RunFolder

DEVICE = "cuda"
WAVE = np.sin(np.arange(40, dtype=np.float32) / 3)
QUESTIONS = [[Turn("user", (Text("Say yes."),))], [Turn("user", (Media("series", WAVE), Text("And?")))]]
NEAR = 0.03  # as bfloat16 rounds this model on the CPU


def relative_error(found: Any, expected: Any) -> float:
    found, expected = (torch.as_tensor(each).double().cpu() for each in (found, expected))
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def make_run(tiny_manifest: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a run of a model with noise in every parameter."""

    def make(**sections: Any) -> Path:
        torch.manual_seed(0)
        loaded = load_manifest(tiny_manifest(**sections))
        model = assemble(loaded, pretrained=False).eval()
        for parameter in model.backbone.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        run = tmp_path / "run"
        run.mkdir()
        write_new_run(RunFolder(run), loaded, model, {})
        return run

    return make


@pytest.fixture
def sessions(make_run: Callable[..., Path]) -> tuple[Session, Session]:
    run = make_run()
    return load(run, device=DEVICE, weights="float32"), load(run, device=DEVICE, weights="bfloat16")


def test_logits_are_near_those_of_float32(sessions: tuple[Session, Session]) -> None:
    exact, rough = sessions
    (logits, state), (found, after) = (each.prefill(QUESTIONS) for each in sessions)
    assert 0 < relative_error(found, logits) < NEAR
    assert after.matrix.dtype == torch.float32
    for rows in ([0], [1], [0, 1], [0, 1, 0]):
        ids = torch.tensor([7, 9, 11][: len(rows)], device=DEVICE)
        for decoder in (rough.token_head(None)[1], BackboneDecoder(rough.model.backbone, "bfloat16")):
            with (
                decoder.start(after.select(rows)) as decoding,
                exact.token_head(None)[1].start(state.select(rows)) as expected,
            ):
                scored, judged = decoding.step(ids), expected.step(ids)
                assert 0 < relative_error(scored, judged) < NEAR
                assert decoding.state().matrix.dtype == torch.float32
    fused = rough.token_head(None)[1].start(after)
    assert fused.step(torch.tensor([7, 9], device=DEVICE)).dtype == torch.float32
    fused.close()


def test_forecasts_are_near_those_of_float32(sessions: tuple[Session, Session]) -> None:
    exact, rough = (each.forecast(WAVE, 6).points for each in sessions)
    assert relative_error(rough, exact) < 0.05


def test_every_request_of_a_batch_is_answered(sessions: tuple[Session, Session]) -> None:
    with Engine(sessions[1], EngineSettings(slots=5)) as engine:
        requests = [Request(tuple(QUESTIONS[index % 2]), max_tokens=8, top_logprobs=1) for index in range(10)]
        answers = [generation.result(240) for generation in [engine.submit(request) for request in requests]]
    for answer in answers:
        assert len(answer.logprobs) == len(answer.tokens) > 0
        assert np.isfinite(answer.logprobs).all()


def test_weights_take_half_of_the_memory(make_run: Callable[..., Path]) -> None:
    run = make_run(backbone={"type": "rwkv7", "num_layers": 4, "hidden_size": 512})

    def size(weights: str) -> tuple[int, int, int]:
        gc.collect()
        before = torch.cuda.memory_allocated()
        session = load(run, device=DEVICE, weights=weights)
        gc.collect()
        decoder: Any = session.token_head(None)[1]
        parameters = sum(parameter.nbytes for parameter in session.model.backbone.parameters())
        return parameters, decoder.weights.nbytes, torch.cuda.memory_allocated() - before

    size("float32")  # what a process takes once
    (parameters, packed, allocated), rough, default = size("float32"), size("bfloat16"), size("auto")
    assert default[:2] == (parameters, packed)
    assert parameters == 2 * rough[0]
    assert allocated > parameters
    assert rough[1] < 0.53 * packed
    assert rough[2] < 0.55 * allocated


def test_the_program_takes_the_option(make_run: Callable[..., Path]) -> None:
    run = str(make_run())
    options = ["Say yes.", "--device", DEVICE, "--max-tokens", "4", "--json"]
    for weights in ("bfloat16", "auto"):
        found = CliRunner().invoke(generate, [run, *options, "--weights", weights], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["text"]
    with pytest.raises(ComponentError, match=r"'int8' on cuda.*\n.*load the run with float32 or bfloat16"):
        load(run, device=DEVICE, weights="int8")
