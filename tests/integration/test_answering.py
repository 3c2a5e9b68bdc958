"""Answers: they do not depend on what decodes them, and follow sampling, stop strings and constraints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from modrwkv_kernels.native import native_unavailable_reason

from modrwkv_core.cli.main import run_program
from modrwkv_core.errors import ComponentError
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.decoding import BackboneDecoder
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.training.loop import train

QUESTIONS = [[Turn("user", (Text(f"Say {word} twice."),))] for word in ("yes", "no", "so")]


def noisy_session(manifest: Path, run: Path) -> Session:
    """Return a session of a model that says a lot and means nothing."""
    torch.manual_seed(0)
    loaded = load_manifest(manifest)
    model = assemble(loaded, pretrained=False).eval()
    for parameter in model.backbone.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return Session(loaded, model, run)


@pytest.mark.skipif(native_unavailable_reason() is not None, reason=str(native_unavailable_reason()))
def test_the_compiled_decoder_answers_as_the_backbone_does(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    session = noisy_session(tiny_manifest(), tmp_path)
    found = session.answer(QUESTIONS, 20), session.generate("Say yes twice.", max_tokens=20)
    assert not isinstance(session.decoders["lm"], BackboneDecoder)
    session.decoders["lm"] = BackboneDecoder(session.model.backbone)
    assert found == (session.answer(QUESTIONS, 20), session.generate("Say yes twice.", max_tokens=20))
    assert len(set(found[0])) > 1


def test_weights_that_cannot_be_had_are_refused_before_anything_is_asked(
    tiny_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    loaded = load_manifest(tiny_manifest())
    with pytest.raises(ComponentError, match="fp8"):
        Session(loaded, assemble(loaded, pretrained=False).eval(), tmp_path, weights="fp8")


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WORLD = {"tokenizer": {"type": "world"}, "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64}}


@pytest.mark.parametrize("sections", [{}, {**WORLD, "chat_template": "world"}], ids=["modrwkv", "world"])
def test_answers_follow_constraints_and_stop_strings(
    tiny_manifest: Callable[..., Path], tmp_path: Path, sections: dict[str, Any]
) -> None:
    session = noisy_session(tiny_manifest(**sections), tmp_path)
    constraint = session.constraints.choices(["yes", "no"])
    drawn = [session.generate("?", sampling=Sampling(1.0, seed=seed), constraint=constraint) for seed in range(8)]
    assert set(drawn) == {"yes", "no"}
    answer = session.generate("Who?", constraint=session.constraints.json_schema(SCHEMA))
    jsonschema.validate(json.loads(answer), SCHEMA)
    assert (
        session.generate("Who?", constraint=session.constraints.json_schema(SCHEMA), stop=[":"])
        == answer[: answer.index(":")]
    )
    free = session.generate("Who?", max_tokens=30)
    assert len(free) > 5
    assert session.generate("Who?", max_tokens=30, stop=[free[3:5]]) == free[: free.index(free[3:5])]
    assert "".join(session.stream("Who?", max_tokens=30)) == free == session.answer([WHO], max_tokens=30)[0]


WHO = [Turn("user", (Text("Who?"),))]


def test_a_reasoning_model_answers_after_it_thought(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    session = noisy_session(tiny_manifest(**WORLD, chat_template="g1"), tmp_path)
    assert session.generate("Who?", max_tokens=30) == "", "an answer that is cut short was all thought"
    # The model that thinks of nothing else than to end its thought.
    favored = dict.fromkeys(session.model.tokenizer.encode("</think>"), 100.0)
    constraint = session.constraints.regex("[ab]{3}")
    sampling = Sampling(1.0, seed=0, logit_bias=favored)
    answer = session.generate("Who?", max_tokens=2000, sampling=sampling, constraint=constraint)
    assert set(answer) <= {"a", "b"}
    assert len(answer) == 3


def test_the_program_takes_every_setting(
    tiny_manifest: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = {"name": "only", "train": ["backbone"], "lr": 1e-3, "steps": 1}
    run = tmp_path / "run"
    train(load_manifest(tiny_manifest(phases=[phase])), run, resume=False, device="cpu", progress_bar=False)
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    filters = "--temperature 0.9 --top-p 0.9 --top-k 200 --min-p 0.001 --typical-p 0.99 --seed 3"
    penalties = "--repetition-penalty 1.1 --presence-penalty 0.1 --frequency-penalty 0.1"
    ask = ["generate", str(run), "Who?", *filters.split(), *penalties.split(), "--json-schema", str(schema)]
    assert run_program(ask) == 0
    answer = capsys.readouterr().out.removesuffix("\n")
    jsonschema.validate(json.loads(answer), SCHEMA)
    assert run_program([*ask, "--stop", ":", "--stop", "}"]) == 0
    assert capsys.readouterr().out == answer[: answer.index(":")] + "\n"
    assert run_program([*ask, "--top-k", "-1"]) == 2
    assert "top_k is -1" in capsys.readouterr().err
    for content in ("{", "[]"):
        schema.write_text(content)
        assert run_program(ask) == 2
        assert "schema.json" in capsys.readouterr().err
