"""The engine on a GPU: steps captured by bucket, states that come and go, answers that neighbors do not change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Part, Text, Turn

DEVICE = "cuda"
PATIENCE = 240
LONG = 24  # tokens of an answer
ENDLESS = 10**9


def user(*parts: Part | str) -> tuple[Turn]:
    return (Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts)),)


def wave(points: int) -> Media:
    return Media("series", np.sin(np.arange(points, dtype=np.float32) / 3))


QUESTIONS: list[tuple[Part | str, ...]] = [
    ("Say yes twice.",),
    (wave(40), "What comes next?"),
    ("Compare", wave(17), "with", wave(64), "in many words. " * 5),
    ("no",),
    ("Say so.",),
    (wave(33), "And here?"),
    ("Count to nine.",),
]


@pytest.fixture
def gpu_session(session: Session, tmp_path: Path) -> Session:
    """The model of ``session`` on the GPU in float32, whose answers do not end by themselves."""
    moved = Session(session.loaded, session.model.to(DEVICE), tmp_path)
    moved.banned = moved.banned.new_tensor([*moved.banned.tolist(), *moved.ends])
    return moved


@pytest.fixture
def score(gpu_session: Session) -> Callable[[Sequence[int], Sequence[int]], torch.Tensor]:
    """Score tokens after a prompt: how far each logit is below the largest, by one forward pass in float64 on the CPU.

    Independent of the engine, its prefill and its decoder; 0 is what greedy decoding draws.
    """

    def judge(prompt: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
        backbone = gpu_session.model.backbone
        exact = type(backbone)(backbone.config, backbone.vocab_size).double()
        exact.load_state_dict({name: tensor.double().cpu() for name, tensor in backbone.state_dict().items()})
        ids = torch.tensor([[*prompt, *tokens]])
        with torch.no_grad():
            hidden, _ = exact(exact.embed(ids))
            logits = exact.logits(hidden[0, len(prompt) - 1 : -1])
        logits = logits.index_fill(1, gpu_session.banned.cpu(), float("-inf"))
        return logits.amax(1) - logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]

    return judge


def prompt_ids(session: Session, turns: tuple[Turn, ...]) -> list[int]:
    ids: list[int] = session.conversations.prompt(turns).ids.tolist()
    return ids


def answers_alone(session: Session, questions: Sequence[tuple[Part | str, ...]]) -> list[tuple[int, ...]]:
    with Engine(session, EngineSettings(slots=1, prefix_cache_bytes=0)) as engine:
        return [engine.submit(Request(user(*parts), max_tokens=LONG)).result(PATIENCE).tokens for parts in questions]


def test_answers_are_those_of_the_forward_pass(gpu_session: Session, score: Any) -> None:
    turns = user("Say yes twice, and then no.")
    with Engine(gpu_session) as engine:
        answer = engine.submit(Request(turns, max_tokens=2 * LONG)).result(PATIENCE)
    assert len(answer.tokens) == 2 * LONG
    assert float(score(prompt_ids(gpu_session, turns), answer.tokens).max()) < 1e-3


def test_requests_together_are_answered_as_each_alone_in_captured_steps(gpu_session: Session) -> None:
    expected = answers_alone(gpu_session, QUESTIONS)
    assert len(set(expected)) == len(expected)
    texts = [gpu_session.generate(parts, max_tokens=LONG) for parts in QUESTIONS]
    decoder: Any = gpu_session.decoders["lm"]
    decoder._steps.clear()
    with Engine(gpu_session, EngineSettings(slots=len(QUESTIONS), prefix_cache_bytes=0)) as engine:
        generations = [engine.submit(Request(user(*parts), max_tokens=LONG)) for parts in QUESTIONS]
        answers = [generation.result(PATIENCE) for generation in generations]
    assert [answer.tokens for answer in answers] == expected
    assert [answer.text for answer in answers] == texts
    # Whatever number of answers there was at a time, only powers of two were captured.
    assert {8} <= decoder._steps.keys() <= {1, 2, 4, 8}
    assert all(step._graph is not None for step in decoder._steps.values())


def test_rows_come_and_go_between_steps(gpu_session: Session) -> None:
    expected = answers_alone(gpu_session, QUESTIONS)
    with Engine(gpu_session, EngineSettings(slots=4)) as engine:
        endless = [engine.submit(Request(user(*parts), max_tokens=ENDLESS)) for parts in QUESTIONS[:3]]
        read = [[next(events).token for _ in range(LONG)] for events in map(iter, endless)]  # type: ignore[union-attr]
        joined = engine.submit(Request(user(*QUESTIONS[3]), max_tokens=LONG))
        endless[1].cancel()
        following = engine.submit(Request(user(*QUESTIONS[4]), max_tokens=LONG))
        found = [tuple(tokens) for tokens in read]
        found += [generation.result(PATIENCE).tokens for generation in (joined, following)]
        for generation in endless:
            generation.cancel()
            generation.result(PATIENCE)
        assert engine.stats().free_slots == 4
    assert found == expected[:5]
    assert [generation.finished.reason for generation in endless if generation.finished] == ["cancelled"] * 3


def test_states_are_values(gpu_session: Session, tmp_path: Path, score: Any) -> None:
    first, second = user("Say yes."), user("And again?")
    with Engine(gpu_session) as engine:
        generation = engine.submit(Request(first, max_tokens=6, keep_state=True))
        answer = generation.result(PATIENCE)
        snapshot = generation.snapshot()
        snapshot.save(tmp_path / "state.safetensors")
        loaded = gpu_session.load_snapshot(tmp_path / "state.safetensors")
        assert loaded.tokens_read == snapshot.tokens_read
        forks = [engine.submit(Request(second, max_tokens=LONG, state=state)) for state in (snapshot, loaded, snapshot)]
        found = [fork.result(PATIENCE).tokens for fork in forks]
    assert found[0] == found[1] == found[2]
    ids = [*prompt_ids(gpu_session, first), *answer.tokens, *gpu_session.ends, *prompt_ids(gpu_session, second)]
    assert float(score(ids, found[0]).max()) < 1e-3


def test_a_seed_draws_the_same_alone_and_in_company(gpu_session: Session) -> None:
    def request(seed: int) -> Request:
        sampling = Sampling(temperature=1.0, top_p=0.95, top_k=40, repetition_penalty=1.1, seed=seed)
        return Request(user("Say yes."), max_tokens=LONG, sampling=sampling)

    seeds = range(6)
    with Engine(gpu_session) as engine:
        alone = [engine.submit(request(seed)).result(PATIENCE).tokens for seed in seeds]
        together = [each.result(PATIENCE).tokens for each in [engine.submit(request(seed)) for seed in seeds]]
    assert together == alone
    assert len(set(alone)) == len(seeds)


def test_log_probabilities_are_those_of_the_forward_pass(gpu_session: Session) -> None:
    turns = user("Say yes.")
    with Engine(gpu_session) as engine:
        answer = engine.submit(Request(turns, max_tokens=LONG, top_logprobs=3)).result(PATIENCE)
    backbone = gpu_session.model.backbone
    prompt = prompt_ids(gpu_session, turns)
    ids = torch.tensor([[*prompt, *answer.tokens]], device=DEVICE)
    with torch.no_grad():
        hidden, _ = backbone(backbone.embed(ids))
        logits = backbone.logits(hidden[0, len(prompt) - 1 : -1]).index_fill(1, gpu_session.banned, float("-inf"))
    top = logits.log_softmax(1).topk(3)
    assert answer.logprobs == pytest.approx(top.values[:, 0].tolist(), abs=1e-3)
    for given, values in zip(answer.top_logprobs, top.values.tolist(), strict=True):
        assert [value for _, value in given] == pytest.approx(values, abs=1e-3)


def test_an_answer_keeps_to_its_constraint_beside_others_that_have_none(gpu_session: Session) -> None:
    pytest.importorskip("llguidance", reason="modrwkv[grammar] is not installed")
    gpu_session.banned = gpu_session.banned.new_tensor(sorted(set(gpu_session.banned.tolist()) - set(gpu_session.ends)))
    [free] = answers_alone(gpu_session, QUESTIONS[:1])
    constraint = gpu_session.constraints.choices(["maybe", "certainly not"])
    with Engine(gpu_session) as engine:
        bound = engine.submit(Request(user(*QUESTIONS[0]), max_tokens=LONG, constraint=constraint))
        beside = engine.submit(Request(user(*QUESTIONS[0]), max_tokens=LONG))
        assert bound.result(PATIENCE).text in ("maybe", "certainly not")
        assert beside.result(PATIENCE).tokens == free


@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "on disk"])
def test_the_prefix_cache_changes_no_answer(gpu_session: Session, tmp_path: Path, on_disk: bool) -> None:
    questions = [(wave(64), f"What is it, in {count} words?") for count in range(3)]
    expected = answers_alone(gpu_session, questions)
    settings = EngineSettings(prefix_cache_dir=tmp_path / "states" if on_disk else None)
    if on_disk:
        with Engine(gpu_session, settings) as engine:
            engine.submit(Request(user(*questions[0]), max_tokens=1)).result(PATIENCE)
    with Engine(gpu_session, settings) as engine:
        answers = [engine.submit(Request(user(*parts), max_tokens=LONG)).result(PATIENCE) for parts in questions]
    assert [answer.tokens for answer in answers] == expected
    assert all(answer.usage.cached_tokens > 64 // 4 for answer in answers[not on_disk :])


def test_bfloat16_answers_stay_near_the_forward_pass(
    session: Session, gpu_session: Session, tmp_path: Path, score: Any
) -> None:
    gpu_session.model.backbone.to(torch.bfloat16)
    rough = Session(session.loaded, gpu_session.model, tmp_path)
    rough.banned = gpu_session.banned
    turns = [user("Say yes twice."), user("no"), user("Count to nine, then to six.")]
    with Engine(rough) as engine:
        generations = [engine.submit(Request(each, max_tokens=LONG)) for each in turns]
        answers = [generation.result(PATIENCE).tokens for generation in generations]
        with_media = engine.submit(Request(user(wave(40), "What comes next?"), max_tokens=LONG)).result(PATIENCE)
    assert len(with_media.tokens) == LONG
    for each, tokens in zip(turns, answers, strict=True):
        distances = score(prompt_ids(rough, each), tokens)
        # Rounding may swap near equals, never draw what is far below the best.
        assert float(distances.max()) < 0.5
        assert float((distances == 0).double().mean()) > 0.7


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has one GPU at most")
def test_an_engine_answers_on_the_second_device(session: Session, tmp_path: Path) -> None:
    moved = Session(session.loaded, session.model.to("cuda:1"), tmp_path)
    moved.banned = moved.banned.new_tensor([*moved.banned.tolist(), *moved.ends])
    expected = answers_alone(moved, QUESTIONS[:3])
    with Engine(moved) as engine:
        generations = [engine.submit(Request(user(*parts), max_tokens=LONG)) for parts in QUESTIONS[:3]]
        assert [generation.result(PATIENCE).tokens for generation in generations] == expected
    assert torch.cuda.current_device() == 0
