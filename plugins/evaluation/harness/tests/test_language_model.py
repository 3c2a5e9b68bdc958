"""The model of lm-evaluation-harness against a forward pass of its own; needs the harness."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed here; test_lm_eval_command.py runs these tests with it")

from lm_eval.api.instance import Instance
from modrwkv_eval.language_model import ModRWKVLM

import modrwkv_core
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Text, Turn

PAIRS = [
    ("the cat", " sat on"),
    ("the c", "at on the mat"),  # the harness scores what the whole has more tokens than the context
    ("the cat ", "ran"),  # the blank belongs to the continuation
    ("", "a dog"),
    ("the cat", " ran"),
]


@pytest.fixture(scope="module")
def run(train_run: Callable[..., Path]) -> Path:
    return train_run(tokenizer={"type": "world"})


@pytest.fixture(scope="module")
def session(run: Path) -> Session:
    return modrwkv_core.load(run, device="cpu")


def test_the_harness_finds_the_class() -> None:
    [entry] = entry_points(group="lm_eval.models", name="modrwkv")
    assert entry.load() is ModRWKVLM


def requests(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, one, 0, ("task", 0, 1)) for one in arguments]


def judged(session: Session, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Score tokens by one forward pass over all of them."""
    backbone = session.model.backbone
    ids = torch.tensor([[*context, *continuation]])
    with torch.no_grad():
        log_probabilities = backbone.logits(backbone(backbone.embed(ids))[0][0]).log_softmax(-1)
    predicted = log_probabilities[len(context) - 1 : -1]
    target = torch.tensor(continuation)
    return float(predicted.gather(1, target[:, None]).sum()), bool((predicted.argmax(-1) == target).all())


def test_continuations_are_split_as_the_harness_splits_them(run: Path, session: Session) -> None:
    encode = session.model.tokenizer.encode
    expected = []
    for context, continuation in PAIRS:
        blank = context[len(context.rstrip()) :]
        context, continuation = context.rstrip(), blank + continuation
        before = [0, *encode(context)]
        expected.append(judged(session, before, [0, *encode(context + continuation)][len(before) :]))
    for batch_size in (1, 4):
        model = ModRWKVLM(str(run), device="cpu", batch_size=batch_size)
        found = model.loglikelihood(requests("loglikelihood", *PAIRS), disable_tqdm=True)
        assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], rel=1e-4)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_a_continuation_that_adds_no_token_is_refused(run: Path) -> None:
    model = ModRWKVLM(str(run), device="cpu")
    with pytest.raises(DataError, match="'t' adds no token to its context"):
        model.loglikelihood(requests("loglikelihood", ("the ca", "t")), disable_tqdm=True)


def test_what_greedy_decoding_gives_is_greedy(run: Path) -> None:
    model = ModRWKVLM(str(run), device="cpu")
    context = "the cat"
    [answer] = model.generate_until(requests("generate_until", (context, {"max_gen_toks": 1})))
    [(_, greedy), (_, other)] = model.loglikelihood(
        requests("loglikelihood", (context, answer), (context, "#")), disable_tqdm=True
    )
    assert (greedy, other) == (True, False)


@pytest.mark.parametrize("max_length", [None, 3, 100])
def test_whole_texts_are_read_in_windows(run: Path, session: Session, max_length: int | None) -> None:
    texts = ["the cat sat on the mat and ran after a dog", "rain", ""]
    encoded = [session.model.tokenizer.encode(text) for text in texts]
    window = max_length or 1000
    expected = []
    for ids in encoded:
        total = 0.0
        for start in range(0, len(ids), window):
            predicted = ids[start : start + window]
            # Later windows are full: the last one reaches back.
            read = [0, *ids][max(start + len(predicted) - window, 0) : start + 1]
            total += judged(session, read, predicted)[0]
        expected.append(total)
    model = ModRWKVLM(str(run), device="cpu", batch_size=2, max_length=max_length)
    found = model.loglikelihood_rolling(requests("loglikelihood_rolling", *((text,) for text in texts)), True)
    assert found == pytest.approx(expected, rel=1e-4)


def test_contexts_are_cut_from_the_left(run: Path, session: Session) -> None:
    ids = [0, *session.model.tokenizer.encode("the cat sat on the mat")]
    model = ModRWKVLM(str(run), device="cpu", max_length=4)
    [(total, _)] = model.loglikelihood(requests("loglikelihood", ("the cat sat on the", " mat")), disable_tqdm=True)
    assert total == pytest.approx(judged(session, ids[-5:-1], ids[-1:])[0], rel=1e-4)
    with pytest.raises(DataError, match="more than max_length"):
        model.loglikelihood(requests("loglikelihood", ("the", " cat sat on the mat and")), disable_tqdm=True)


def greedy_ids(session: Session, ids: list[int], count: int) -> list[int]:
    backbone = session.model.backbone
    banned = session.model.tokenizer.special.all() - {session.model.tokenizer.special.turn_end}
    for _ in range(count):
        with torch.no_grad():
            logits = backbone.logits(backbone(backbone.embed(torch.tensor([ids])))[0][0, -1])
        logits[sorted(banned)] = -torch.inf
        ids = [*ids, int(logits.argmax())]
    return ids


def test_texts_are_continued_until_a_stop_string(run: Path, session: Session) -> None:
    tokenizer = session.model.tokenizer
    contexts, limit = ["the cat", "a dog", "rain fell on"], 8
    expected = []
    for context in contexts:
        ids = [0, *tokenizer.encode(context)]
        new = greedy_ids(session, ids, limit)[len(ids) :]
        ended = [at for at, token in enumerate(new) if token in (0, tokenizer.special.turn_end)]
        expected.append(tokenizer.decode(new[: ended[0] if ended else limit]).decode(errors="replace"))
    assert any(expected)
    model = ModRWKVLM(str(run), device="cpu", batch_size=2, max_gen_toks=limit)
    for until in ([], ["e"], [" "]):
        asked = requests("generate_until", *((context, {"until": until}) for context in contexts))
        cut = [min((text.split(stop)[0] for stop in until), key=len, default=text) for text in expected]
        assert model.generate_until(asked, disable_tqdm=True) == cut


@pytest.mark.parametrize("template", ["modrwkv", "world"])
def test_conversations_are_read_in_the_chat_template(train_run: Callable[..., Path], template: str) -> None:
    run = train_run(tokenizer={"type": "world"}, chat_template=template)
    session = modrwkv_core.load(run, device="cpu")
    model = ModRWKVLM(str(run), device="cpu", batch_size=2, max_gen_toks=5)
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is the cat?"},
        {"role": "assistant", "content": "on the mat"},
        {"role": "user", "content": "And the dog?"},
    ]
    turns = tuple(Turn(one["role"], (Text(one["content"]),)) for one in history)
    context = model.apply_chat_template(history)
    [(total, _)] = model.loglikelihood(requests("loglikelihood", (context, "away")), disable_tqdm=True)
    [expected] = session.log_likelihoods([turns], ["away"], end=False)
    assert total == pytest.approx(expected.total, rel=1e-4)
    [answer] = model.generate_until(requests("generate_until", (context, {})), disable_tqdm=True)
    assert answer == session.answer([turns], 5)[0]
    # The beginning of an answer is continued where it ends.
    begun = model.apply_chat_template([*history, {"role": "assistant", "content": "it ran"}], False)
    assert model.tok_encode(begun) == [
        *(token for part in session.conversations.prompt_segments(turns, 4096) for token in part.ids.tolist()),
        *session.model.tokenizer.encode("it ran" if template == "modrwkv" else " it ran"),
    ]
    [(total, _)] = model.loglikelihood(requests("loglikelihood", (begun, " away")), disable_tqdm=True)
    [whole] = session.log_likelihoods([turns], ["it ran away"], end=False)
    [start] = session.log_likelihoods([turns], ["it ran"], end=False)
    assert total == pytest.approx(whole.total - start.total, rel=1e-3)


def test_arguments_are_checked(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModRWKVError, match="batch_size is 'auto'"):
        ModRWKVLM(str(run), device="cpu", batch_size="auto")
    with pytest.raises(ModRWKVError, match="max_length is 0"):
        ModRWKVLM(str(run), device="cpu", max_length=0)
    with pytest.raises(ModRWKVError, match="leaves none of max_length"):
        ModRWKVLM(str(run), device="cpu", max_length=8).generate_until(
            requests("generate_until", ("the cat", {"max_gen_toks": 8})), disable_tqdm=True
        )
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModRWKVError, match="runs as 2 processes"):
        ModRWKVLM(str(run), device="cpu")
