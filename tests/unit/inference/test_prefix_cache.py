"""What was read once is not read again, and answers are the same."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.generation import Answer
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Part, Text, Turn
from modrwkv_core.testing.fakes import FakeState

PATIENCE = 120
WITHOUT = EngineSettings(prefix_cache_bytes=0)


def user(*parts: Part | str) -> tuple[Turn]:
    return (Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts)),)


def wave(points: int, phase: float = 0.0) -> Media:
    return Media("series", np.sin(np.arange(points, dtype=np.float32) / 3 + phase))


def ask(engine: Engine, turns: tuple[Turn, ...]) -> Answer:
    return engine.submit(Request(turns, max_tokens=8)).result(PATIENCE)


def without_cache(session: Session, turns: tuple[Turn, ...]) -> Answer:
    with Engine(session, WITHOUT) as engine:
        return ask(engine, turns)


def count_encoded(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts = []
    embedder = session.model.embedders["series"]
    forward = embedder.forward

    def counted(items: Any, *rest: Any) -> Any:
        counts.append(len(items))
        return forward(items, *rest)

    monkeypatch.setattr(embedder, "forward", counted)
    return counts


def test_questions_about_one_medium_read_it_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [user(wave(64), f"What is it, in {count} words?") for count in range(4)]
    expected = [without_cache(session, turns).tokens for turns in questions]
    special = session.model.tokenizer.special
    ids = session.conversations.prompt(questions[0]).ids.tolist()
    encoded = count_encoded(session, monkeypatch)
    with Engine(session) as engine:
        generations = [engine.submit(Request(turns, max_tokens=8)) for turns in questions]
        answers = [generation.result(PATIENCE) for generation in generations]
        stats = engine.stats()
    assert [answer.tokens for answer in answers] == expected
    assert encoded == [1]
    until_media = ids.index(special.media_end) + 1
    # Prompts are made on several threads, so that any question may be the first.
    assert sorted(answer.usage.cached_tokens for answer in answers) == [0, *[until_media] * 3]
    assert (stats.prefix_hits, stats.prefix_misses, stats.cached_tokens) == (3, 1, 3 * until_media)
    assert stats.prefix_bytes > 0


@pytest.mark.parametrize(
    "turns",
    [user(wave(64, 0.1), "What is it?"), user(wave(63), "What is it?"), user("Now", wave(64), "What is it?")],
    ids=["other values", "another length", "other words before"],
)
def test_another_beginning_is_read(session: Session, turns: tuple[Turn, ...]) -> None:
    with Engine(session) as engine:
        ask(engine, user(wave(64), "What is it?"))
        answer = ask(engine, turns)
    assert answer.usage.cached_tokens == 0
    assert answer.tokens == without_cache(session, turns).tokens


def test_the_next_turn_of_a_conversation_finds_the_answer_before(session: Session) -> None:
    [end] = session.ends
    only_letters = {token for token in range(session.model.backbone.vocab_size) if token not in range(97, 123)}
    session.banned = torch.tensor(sorted(only_letters - {end}))
    first = user("Say yes.")
    with Engine(session) as engine:
        answer = engine.submit(Request(first, max_tokens=500)).result(PATIENCE)
        assert answer.finish_reason == "stop", "choose another seed: the answer must end by itself"
        following = (*first, Turn("assistant", (Text(answer.text),)), *user("And again?"))
        again = ask(engine, following)
    expected = len(session.conversations.prompt(first).ids) + len(answer.tokens)
    assert again.usage.cached_tokens == expected
    assert again.tokens == without_cache(session, following).tokens


def test_states_outlive_the_engine_in_a_folder(session: Session, tmp_path: Path) -> None:
    turns = user(wave(64), "What is it?")
    settings = EngineSettings(prefix_cache_dir=tmp_path / "states")
    with Engine(session, settings) as engine:
        first = ask(engine, turns)
    with Engine(session, settings) as engine:
        second = ask(engine, turns)
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens > 64 // 4
    assert second.tokens == first.tokens


@pytest.mark.parametrize(("nbytes", "decodings"), [(2**26, 1), (0, 3)], ids=["remembered", "not remembered"])
def test_a_medium_that_is_shown_again_is_not_decoded_again(
    session: Session, monkeypatch: pytest.MonkeyPatch, nbytes: int, decodings: int
) -> None:
    preprocessor = session.conversations.preprocessors["series"]
    decode, decoded = preprocessor.decode, []

    def count(media: Any) -> Any:
        decoded.append(media)
        return decode(media)

    questions = [user(wave(64), f"What is it, in {count} words?") for count in range(3)]
    expected = [without_cache(session, turns).tokens for turns in questions]
    monkeypatch.setattr(type(preprocessor), "decode", lambda self, media: count(media))
    with Engine(session, EngineSettings(processors=1, media_cache_bytes=nbytes)) as engine:
        answers = [ask(engine, turns) for turns in questions]
    assert [answer.tokens for answer in answers] == expected
    assert [answer.usage.cached_tokens > 0 for answer in answers] == [False, True, True]
    assert len(decoded) == decodings


def states(count: int) -> dict[str, FakeState]:
    return {str(index): FakeState(torch.full((1, 4), float(index))) for index in range(count)}


def test_memory_is_bounded_and_keeps_what_was_used_last() -> None:
    cache = PrefixCache(FakeState, max_bytes=3 * 16)
    for key, state in states(3).items():
        cache.put(key, state)
    cache.get("0")
    cache.put("new", FakeState(torch.zeros(1, 4)))
    cache.put("too large", FakeState(torch.zeros(1, 13)))
    assert {key for key in ("0", "1", "2", "new", "too large") if cache.get(key) is not None} == {"0", "2", "new"}
    assert cache.nbytes == 3 * 16


def test_the_folder_takes_what_memory_cannot_hold_and_is_bounded(tmp_path: Path) -> None:
    file_size = len(_saved(tmp_path / "one"))
    folder = tmp_path / "states"
    cache = PrefixCache(FakeState, 2 * 16, folder, 3 * file_size)
    for key, state in states(4).items():
        cache.put(key, state)
    cache.close()
    assert len(list(folder.iterdir())) == 3
    again = PrefixCache(FakeState, 2 * 16, folder, 3 * file_size)
    again.load(["unknown", "3", "2"])
    state = again.get("3")
    assert state is not None
    assert torch.equal(state.hidden, torch.full((1, 4), 3.0))
    assert again.get("2") is None
    again.close()


def test_a_slow_disk_does_not_fill_the_memory(tmp_path: Path) -> None:
    go_on = threading.Event()

    class SlowState(FakeState):
        def save(self, *arguments: Any) -> None:
            go_on.wait(PATIENCE)
            super().save(*arguments)

    cache = PrefixCache(SlowState, 2 * 16, tmp_path)
    for index in range(9):
        cache.put(str(index), SlowState(torch.zeros(1, 4)))
    go_on.set()
    cache.close()
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["0", "1", "7", "8"]


def _saved(path: Path) -> bytes:
    FakeState(torch.zeros(1, 4)).save(path)
    return path.read_bytes()


def test_a_damaged_file_is_left_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "key.safetensors").write_bytes(b"damaged")
    cache = PrefixCache(FakeState, 100, tmp_path)
    with pytest.warns(UserWarning, match="left out"):
        cache.load(["key"])
    assert cache.get("key") is None
    assert not (tmp_path / "key.safetensors").exists()
    cache.close()
