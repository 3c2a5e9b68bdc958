"""The engine against the answers that a session gives to each request alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modrwkv_core.errors import DataError, EngineError, ModRWKVError, QueueFullError
from modrwkv_core.inference.decode_batch import DecodeBatch
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.generation import Finished, TokenEvent
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.interfaces.record import Media, Part, Text, Turn

PATIENCE = 120
Greedy = Callable[[list[int], int], list[int]]


def user(*parts: Part | str) -> tuple[Turn]:
    return (Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts)),)


def wave(points: int) -> Media:
    return Media("series", np.sin(np.arange(points, dtype=np.float32) / 3))


QUESTIONS: list[tuple[Any, ...]] = [
    ("Say yes twice.",),
    (wave(40), "What comes next?"),
    ("Compare", wave(17), "with", wave(64), "in many words. " * 5),
    ("no",),
]


def test_requests_together_are_answered_as_each_alone(session: Session) -> None:
    expected = [session.generate(parts, max_tokens=20) for parts in QUESTIONS]
    assert len(set(expected)) == len(expected)
    with Engine(session, EngineSettings(slots=3, prefill_chunk=32)) as engine:
        generations = [engine.submit(Request(user(*parts), max_tokens=20)) for parts in QUESTIONS]
        assert [generation.result(PATIENCE).text for generation in generations] == expected
        stats = engine.stats()
    assert (stats.running, stats.waiting, stats.free_slots, stats.finished) == (0, 0, 3, 4)
    assert stats.completion_tokens == sum(generation.finished.usage.completion_tokens for generation in generations)


def test_a_batch_may_be_larger_than_slots_and_queue(session: Session) -> None:
    requests = [Request(user(*QUESTIONS[index % 4]), max_tokens=1 + index % 3) for index in range(13)]
    answers = session.generate_batch(requests, EngineSettings(slots=2, queue=3))
    assert [len(answer.tokens) for answer in answers] == [request.max_tokens for request in requests]
    assert [answer.text for answer in answers[:4]] == [
        session.generate(parts, max_tokens=request.max_tokens)
        for parts, request in zip(QUESTIONS, requests, strict=False)
    ]


def test_events_come_one_by_one_and_end(session: Session) -> None:
    with Engine(session) as engine:
        *tokens, last = engine.submit(Request(user("Say yes."), max_tokens=5))
    assert all(isinstance(event, TokenEvent) for event in tokens)
    assert isinstance(last, Finished)
    assert last.reason in ("stop", "length")
    assert last.usage.prompt_tokens == len(session.conversations.prompt(user("Say yes.")).ids)
    text = "".join(piece.text for event in (*tokens, last) for piece in event.pieces)
    assert text == session.generate("Say yes.", max_tokens=5)


def test_an_event_loop_receives_the_same_events(session: Session) -> None:
    async def text(engine: Engine, question: str) -> str:
        events = [event async for event in engine.submit(Request(user(question), max_tokens=12))]
        return "".join(piece.text for event in events for piece in event.pieces)

    async def both(engine: Engine) -> list[str]:
        return await asyncio.gather(text(engine, "Say yes."), text(engine, "Say no."))

    with Engine(session) as engine:
        found = asyncio.run(both(engine))
    assert found == [session.generate(question, max_tokens=12) for question in ("Say yes.", "Say no.")]


def test_a_request_that_cannot_be_read_ends_alone(session: Session) -> None:
    with Engine(session) as engine:
        good = engine.submit(Request(user("Say yes."), max_tokens=5))
        bad = engine.submit(Request(user(Media("series", "missing.csv"), "What is it?")))
        with pytest.raises(DataError, match=r"missing\.csv"):
            bad.result(PATIENCE)
        assert bad.finished.reason == "error"
        assert good.result(PATIENCE).text == session.generate("Say yes.", max_tokens=5)


def endless(session: Session) -> None:
    session.banned = session.banned.new_tensor([*session.banned.tolist(), *session.ends])
    session.banned_in_text = session.banned.new_tensor([*session.banned_in_text.tolist(), *session.ends_of_text])


def test_a_cancelled_request_frees_its_slot(session: Session) -> None:
    endless(session)
    with Engine(session, EngineSettings(slots=1)) as engine:
        first = engine.submit(Request(user("Say yes."), max_tokens=10**9))
        events = iter(first)
        next(events)
        second = engine.submit(Request(user("Say no."), max_tokens=3))
        first.cancel()
        assert len(second.result(PATIENCE).tokens) == 3
        assert first.finished.reason == "cancelled"
        assert engine.stats().free_slots == 1


def test_a_full_queue_refuses(session: Session) -> None:
    endless(session)
    with Engine(session, EngineSettings(slots=1, queue=1)) as engine:
        running = engine.submit(Request(user("Say yes."), max_tokens=10**9))
        next(iter(running))
        engine.submit(Request(user("Say yes."), max_tokens=10**9))
        with pytest.raises(QueueFullError):
            engine.submit(Request(user("Say yes."), max_tokens=10**9))


def test_a_failure_of_the_device_ends_all_and_is_told_to_later_requests(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless(session)
    broken = threading.Event()
    decoder = session.decoders["lm"]
    start = type(decoder).start

    def start_to_break(self: Any, state: Any) -> Any:
        decoding = start(self, state)
        step = decoding.step

        def break_once(ids: Any) -> Any:
            if broken.is_set():
                raise RuntimeError("the device is gone")
            return step(ids)

        decoding.step = break_once
        return decoding

    monkeypatch.setattr(type(decoder), "start", start_to_break)
    with Engine(session, EngineSettings(slots=1)) as engine:
        running = engine.submit(Request(user("Say yes."), max_tokens=10**9))
        next(iter(running))  # prompts are made on other threads, in any order
        waiting = engine.submit(Request(user("Say yes."), max_tokens=10**9))
        broken.set()
        for generation in (running, waiting):
            with pytest.raises(RuntimeError, match="the device is gone"):
                generation.result(PATIENCE)
        with pytest.raises(EngineError, match="the device is gone"):
            engine.submit(Request(user("Say yes.")))


def refuse(snapshot: Snapshot | None) -> None:
    raise OSError("the disk is full")


def test_a_failing_on_finish_ends_its_own_answer(session: Session) -> None:
    with Engine(session) as engine:
        with pytest.raises(OSError, match="the disk is full"):
            engine.submit(Request(user("Say yes."), max_tokens=2), on_finish=refuse).result(PATIENCE)
        unreadable = engine.submit(Request(user(Media("series", "missing.csv"))), on_finish=refuse)
        with pytest.raises(DataError, match=r"missing\.csv"):
            unreadable.result(PATIENCE)
        assert len(engine.submit(Request(user("Say yes."), max_tokens=2)).result(PATIENCE).tokens) == 2


def test_a_failing_on_finish_does_not_keep_closing_from_ending_the_others(session: Session) -> None:
    endless(session)
    called = []

    def note(snapshot: Snapshot | None) -> None:
        called.append(snapshot)
        refuse(snapshot)

    with Engine(session) as engine:
        generations = [engine.submit(Request(user("Say yes."), max_tokens=10**9), on_finish=note) for _ in range(2)]
    assert called == [None, None]
    for generation in generations:
        with pytest.raises(OSError, match="the disk is full"):
            generation.result(PATIENCE)


def test_a_state_that_cannot_be_copied_is_the_error_of_its_answer(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless(session)
    state = DecodeBatch.state
    broken: list[int] = []

    def fail_for_two_tokens(self: DecodeBatch, job: Any) -> Any:
        if job.request.max_tokens == 2:
            broken.append(job.number)
            raise MemoryError("no memory for a state")
        return state(self, job)

    monkeypatch.setattr(DecodeBatch, "state", fail_for_two_tokens)
    with Engine(session) as engine:
        bad = engine.submit(Request(user("Say yes."), max_tokens=2, keep_state=True))
        with pytest.raises(MemoryError, match="no memory for a state"):
            bad.result(PATIENCE)
        assert len(engine.submit(Request(user("Say yes."), max_tokens=3)).result(PATIENCE).tokens) == 3
    assert len(broken) == 1


def test_closing_cancels(session: Session) -> None:
    endless(session)
    with Engine(session) as engine:
        generation = engine.submit(Request(user("Say yes."), max_tokens=10**9))
    assert generation.finished.reason == "cancelled"
    with pytest.raises(EngineError, match="being closed"):
        engine.submit(Request(user("Say yes.")))


def test_a_deadline_ends_an_answer_as_it_is(session: Session) -> None:
    endless(session)
    with Engine(session) as engine:
        generation = engine.submit(Request(user("Say yes."), max_tokens=10**9, deadline_s=0.2))
        assert generation.result(PATIENCE).finish_reason == "deadline"


def test_an_answer_goes_on_from_a_snapshot(session: Session, greedy: Greedy) -> None:
    endless(session)
    first, second = user("Say yes."), user("And again?")
    with Engine(session) as engine:
        generation = engine.submit(Request(first, max_tokens=6, keep_state=True))
        answer = generation.result(PATIENCE)
        following = Request(second, max_tokens=6, state=generation.snapshot(), keep_state=True)
        twice = [engine.submit(following) for _ in range(2)]
        found = [generation.result(PATIENCE).tokens for generation in twice]
    ids = [*prompt_ids(session, first), *answer.tokens, *session.ends, *prompt_ids(session, second)]
    assert found == [tuple(greedy(ids, 6))] * 2
    assert twice[0].snapshot().tokens_read == len(ids) + 5


def test_a_state_that_nobody_wants_is_not_copied(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    endless(session)
    monkeypatch.setattr(DecodeBatch, "state", None)
    with Engine(session) as engine:
        generation = engine.submit(Request(user("Say yes."), max_tokens=3))
        assert len(generation.result(PATIENCE).tokens) == 3
    with pytest.raises(ModRWKVError, match="did not keep it"):
        generation.snapshot()


def prompt_ids(session: Session, turns: tuple[Turn, ...]) -> list[int]:
    return session.conversations.prompt(turns).ids.tolist()


def test_a_text_is_continued_as_it_is(session: Session, greedy: Greedy) -> None:
    endless(session)
    with Engine(session) as engine:
        answer = engine.submit(Request(prompt="Once upon", max_tokens=6)).result(PATIENCE)
        ids = [0, *session.model.tokenizer.encode("Once upon")]
        begun = engine.submit(Request(prompt=ids, max_tokens=6)).result(PATIENCE)
    assert list(answer.tokens) == greedy(ids[1:], 6)
    assert list(begun.tokens) == greedy(ids, 6)


@pytest.mark.parametrize("end", [0, "turn_end"])
def test_a_continued_text_ends_where_a_text_or_a_turn_ends(session: Session, end: int | str) -> None:
    token = end if isinstance(end, int) else session.model.tokenizer.special.turn_end
    others = [other for other in range(session.model.backbone.vocab_size) if other != token]
    session.banned_in_text = session.banned.new_tensor(others)
    with Engine(session) as engine:
        answer = engine.submit(Request(prompt="Once upon", max_tokens=6)).result(PATIENCE)
    assert (answer.text, answer.finish_reason) == ("", "stop")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_tokens_do_not_depend_on_the_neighbors(session: Session, data: st.DataObject) -> None:
    slots = data.draw(st.integers(1, 5), "slots")
    chunk = data.draw(st.sampled_from([16, 64, 512]), "chunk")
    alone = EngineSettings(slots=1, prefill_chunk=chunk, prefix_cache_bytes=0)
    cache = data.draw(st.sampled_from([0, 2**28]), "cache")
    requests = [
        Request(
            user(*data.draw(st.sampled_from(QUESTIONS))),
            max_tokens=data.draw(st.integers(1, 20)),
            priority=data.draw(st.integers(0, 1)),
            sampling=Sampling(temperature=data.draw(st.sampled_from([0.0, 1.0])), seed=data.draw(st.integers(0, 9))),
        )
        for _ in range(data.draw(st.integers(2, 7), "requests"))
    ]
    leaving = [data.draw(st.none() | st.integers(0, 5), "leaves after") for _ in requests]
    with Engine(session, alone) as engine:
        expected = [engine.submit(request).result(PATIENCE).tokens for request in requests]
    with Engine(session, EngineSettings(slots=slots, prefill_chunk=chunk, prefix_cache_bytes=cache)) as engine:
        found: list[tuple[int, ...]] = [()] * len(requests)

        def follow(index: int) -> None:
            generation = engine.submit(requests[index])
            for event in generation:
                if isinstance(event, TokenEvent):
                    found[index] += (event.token,)
                if leaving[index] is not None and len(found[index]) >= leaving[index]:
                    generation.cancel()

        threads = [threading.Thread(target=follow, args=(index,)) for index in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        stats = engine.stats()
    for tokens, whole, left_after in zip(found, expected, leaving, strict=True):
        assert tokens == whole[: len(tokens)]
        assert len(tokens) == len(whole) or left_after is not None
    assert (stats.running, stats.waiting, stats.free_slots) == (0, 0, slots)


def test_a_long_prompt_does_not_hold_up_a_short_one(session: Session) -> None:
    endless(session)
    with Engine(session, EngineSettings(slots=2, prefill_chunk=16)) as engine:
        long = engine.submit(Request(user("x" * 200_000), max_tokens=1))
        short = engine.submit(Request(user("Say yes."), max_tokens=3))
        assert len(short.result(PATIENCE).tokens) == 3
        assert long.finished is None


def test_a_higher_priority_goes_first(session: Session) -> None:
    endless(session)
    with Engine(session, EngineSettings(slots=1)) as engine:
        running = engine.submit(Request(user("Say yes."), max_tokens=10**9))
        next(iter(running))  # prompts are made on other threads, in any order
        low = engine.submit(Request(user("Say no."), max_tokens=10**9))
        high = engine.submit(Request(user("Say no."), max_tokens=2, priority=1))
        while any(job.segment is None for job in engine._waiting):
            next(iter(running))
        running.cancel()
        high.result(PATIENCE)
        assert low.finished is None


def test_only_the_next_prompts_are_made_and_segment_by_segment(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless(session)
    monkeypatch.setattr("modrwkv_core.inference.prompt.PREFILL_CHUNK", 1)
    preprocessor = session.conversations.preprocessors["series"]
    decode, decoded = preprocessor.decode, []

    def count(media: Any) -> Any:
        decoded.append(media)
        return decode(media)

    monkeypatch.setattr(type(preprocessor), "decode", lambda self, media: count(media))
    film = Request(user(*[wave(16)] * 3), max_tokens=1)
    with Engine(session, EngineSettings(slots=1, processors=1, media_cache_bytes=0)) as engine:
        running = engine.submit(Request(user("Say yes."), max_tokens=10**9))
        events = iter(running)
        next(events)
        generations = [engine.submit(film) for _ in range(4)]
        while not decoded:
            next(events)
        for _ in range(20):
            next(events)
        assert len(decoded) == 1
        running.cancel()
        for generation in generations:
            assert len(generation.result(PATIENCE).tokens) == 1
        assert len(decoded) == 4 * 3


def test_an_error_in_a_later_segment_ends_its_own_answer(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modrwkv_core.inference.prompt.PREFILL_CHUNK", 1)
    with Engine(session) as engine:
        bad = engine.submit(Request(user(wave(16), Media("series", "missing.csv"))))
        with pytest.raises(DataError, match=r"missing\.csv"):
            bad.result(PATIENCE)
        assert len(engine.submit(Request(user("Say yes."), max_tokens=2)).result(PATIENCE).tokens) == 2


def test_a_call_is_told_why_the_engine_has_failed(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Engine) -> None:
        raise RuntimeError("the device is gone")

    with Engine(session) as engine:
        called = engine.call(lambda: session)
        assert called.result(PATIENCE) is session
        monkeypatch.setattr(Engine, "_read", fail)
        with pytest.raises(RuntimeError, match="the device is gone"):
            engine.call(lambda: session).result(PATIENCE)
        with pytest.raises(EngineError, match="the device is gone"):
            engine.call(lambda: session)


def test_closing_makes_no_prompts_that_wait(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, decoded = threading.Event(), threading.Event(), []
    preprocessor = session.conversations.preprocessors["series"]

    def decode(self: Any, media: Any) -> Any:
        decoded.append(media)
        begun.set()
        go_on.wait(PATIENCE)
        raise DataError("no series")

    monkeypatch.setattr(type(preprocessor), "decode", decode)
    with Engine(session, EngineSettings(slots=4, processors=1)) as engine:
        for _ in range(3):
            engine.submit(Request(user(wave(16))))
        begun.wait(PATIENCE)
        shutdown = engine._prompts._threads.shutdown

        def stop(**how: bool) -> None:
            shutdown(wait=False, **how)
            go_on.set()
            shutdown()

        monkeypatch.setattr(engine._prompts._threads, "shutdown", stop)
    assert len(decoded) == 1


def test_an_answer_ends_without_the_engines_lock(session: Session) -> None:
    """Whoever is told may look at the engine, or wait for somebody who does."""
    with Engine(session) as engine:
        told = []

        def look(snapshot: Snapshot | None) -> None:
            thread = threading.Thread(target=lambda: told.append(engine.stats().running))
            thread.start()
            thread.join(PATIENCE)

        engine.submit(Request(user("Say yes."), max_tokens=2), on_finish=look).result(PATIENCE)
    assert told == [0]
