"""Weights in bfloat16, as a GPU answers with them; what is tested here does not depend on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modrwkv_core.errors import ComponentError
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.weights import cast_weights
from modrwkv_core.interfaces.decoding import BackboneDecoder
from modrwkv_core.interfaces.record import Media, Part, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble

WAVE = np.sin(np.arange(40, dtype=np.float32) / 3)
QUESTIONS = [[Turn("user", (Text("Say yes."),))], [Turn("user", (Media("series", WAVE), Text("And?")))]]


def relative_error(found: Any, expected: Any) -> float:
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def sessions(tiny_manifest: Callable[..., Path], tmp_path: Path) -> tuple[Session, Session]:
    """A model in float32, and the same in bfloat16, both with a head for each thing that can be asked."""
    heads = {
        "lm": {"type": "lm"},
        "forecast": {"type": "forecast", "horizon": 6},
        "ctc": {"type": "ctc", "modality": "series"},
    }
    loaded = load_manifest(tiny_manifest(heads=heads))
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        model = assemble(loaded, pretrained=False).eval()
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        models.append(model)
    cast_weights(models[1], torch.bfloat16)
    return Session(loaded, models[0], tmp_path), Session(loaded, models[1], tmp_path, weights="bfloat16")


def test_weights_take_half_and_logits_stay_near(sessions: tuple[Session, Session]) -> None:
    exact, rough = sessions
    sizes = [sum(parameter.nbytes for parameter in each.model.backbone.parameters()) for each in sessions]
    assert sizes[0] == 2 * sizes[1]
    for name in ("forecast", "ctc"):
        assert all(parameter.dtype == torch.float32 for parameter in rough.model.heads[name].parameters())
    (logits, state), (found, after) = (each.prefill(QUESTIONS) for each in (exact, rough))
    assert 0 < relative_error(found, logits) < 0.03
    assert after.matrix.dtype == torch.float32
    ids = torch.tensor([7, 9])
    for each in (rough.token_head(None)[1], BackboneDecoder(rough.model.backbone, "bfloat16")):
        with each.start(after) as decoding, exact.token_head(None)[1].start(state) as expected:
            assert 0 < relative_error(decoding.step(ids), expected.step(ids)) < 0.03
            assert decoding.state().matrix.dtype == torch.float32


def test_everything_can_be_asked(sessions: tuple[Session, Session]) -> None:
    exact, rough = sessions
    assert relative_error(rough.forecast(WAVE, 6).points, exact.forecast(WAVE, 6).points) < 0.05
    assert isinstance(rough.answer(QUESTIONS[1:], 8, head="ctc")[0], str)
    found, expected = (each.log_likelihoods(QUESTIONS, ["yes", "no"]) for each in (rough, exact))
    for one, other in zip(found, expected, strict=True):
        assert one.total == pytest.approx(other.total, rel=0.03)
    requests = [Request(turns, max_tokens=6, top_logprobs=1) for turns in QUESTIONS]
    answers = rough.generate_batch(requests)
    assert [len(answer.tokens) for answer in answers] == [6, 6]
    parts: list[Part | str] = [Media("series", WAVE), "And?"]
    assert rough.generate(parts, max_tokens=6) == answers[1].text


def test_the_state_that_sequences_begin_with_stays_exact(session: Session) -> None:
    _, state = session.prefill([[Turn("user", (Text("Say yes."),))]])
    backbone: Any = session.model.backbone
    backbone.set_initial_state(state)
    cast_weights(session.model, torch.bfloat16)
    assert torch.equal(backbone.init_state(1).matrix, state.matrix)
    assert not torch.equal(state.matrix, state.matrix.bfloat16().float())


def test_states_belong_to_the_type_that_made_them(sessions: tuple[Session, Session]) -> None:
    with Engine(sessions[0]) as engine:
        generation = engine.submit(Request(QUESTIONS[0], max_tokens=2, keep_state=True))
        generation.result(60)
    with Engine(sessions[1]) as engine, pytest.raises(Exception, match="belongs to the model"):
        engine.submit(Request(QUESTIONS[0], state=generation.snapshot()))


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_weights_that_cannot_be_stored_are_refused_before_a_question(
    tiny_manifest: Callable[..., Path], tmp_path: Path, tokens: int
) -> None:
    heads = {"ctc": {"type": "ctc", "modality": "series"}, **{f"lm{index}": {"type": "lm"} for index in range(tokens)}}
    loaded = load_manifest(tiny_manifest(heads=heads))
    model = assemble(loaded, pretrained=False).eval()
    with pytest.raises(ComponentError, match="cannot be stored as 'int4'"):
        Session(loaded, model, tmp_path, weights="int4")
