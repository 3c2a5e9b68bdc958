"""Conversations that are kept, against one request with the whole conversation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modrwkv_core.errors import CheckpointError, DataError, ModRWKVError, WriteError
from modrwkv_core.inference.conversation import Conversation
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.session_folder import SessionFolder
from modrwkv_core.inference.sessions import SessionStore
from modrwkv_core.interfaces.record import Text, Turn

PATIENCE = 120


@pytest.fixture
def engine(session: Session) -> Iterator[Engine]:
    session.banned = session.banned.new_tensor([*session.banned.tolist(), *session.ends])
    with Engine(session) as engine:
        yield engine


def user(text: str) -> tuple[Turn]:
    return (Turn("user", (Text(text),)),)


def ask(store: SessionStore, conversation: Conversation, text: str) -> tuple[int, ...]:
    request = Request(user(text), max_tokens=5, session=conversation.name)
    return store.submit(request).result(PATIENCE).tokens


def test_a_session_remembers_its_turns(engine: Engine, greedy: Callable[[list[int], int], list[int]]) -> None:
    store = SessionStore(engine)
    one, other = store.create(), store.create()
    first, alike = (ask(store, conversation, "Say yes.") for conversation in (one, other))
    second = ask(store, one, "Again.")
    assert first == alike
    session = engine.session
    prompts = [session.conversations.prompt(user(text)).ids.tolist() for text in ("Say yes.", "Again.")]
    ids = [*prompts[0], *first, *session.ends, *prompts[1]]
    assert list(second) == greedy(ids, 5)
    assert store.get(one.name).turns == 2
    assert store.get(one.name).tokens_read == len(ids) + 4


def test_a_fork_goes_its_own_way_from_the_same_state(engine: Engine) -> None:
    store = SessionStore(engine)
    one = store.create()
    ask(store, one, "Say yes.")
    fork = store.fork(one.name)
    ask(store, fork, "Say no.")
    again = store.fork(one.name)
    assert ask(store, again, "Louder.") == ask(store, one, "Louder.")
    assert store.get(fork.name).turns == 2


def test_an_undone_turn_was_never_said(engine: Engine) -> None:
    store = SessionStore(engine, undo=2)
    one = store.create()
    for text in ("Say yes.", "Louder."):
        ask(store, one, text)
    expected = ask(store, one, "Again.")
    ask(store, one, "Quite different.")
    store.undo(one.name)
    store.undo(one.name)
    assert ask(store, one, "Again.") == expected
    store.undo(one.name)
    with pytest.raises(DataError, match="nothing that can be undone"):
        store.undo(store.undo(one.name).name)


def test_the_first_turn_can_be_undone(engine: Engine) -> None:
    store = SessionStore(engine)
    one = store.create()
    expected = ask(store, one, "Say yes.")
    store.undo(one.name)
    assert ask(store, one, "Say yes.") == expected
    assert store.get(one.name).turns == 1


def test_saved_sessions_survive_a_restart(engine: Engine, tmp_path: Path) -> None:
    with SessionStore(engine, tmp_path / "sessions") as store:
        kept, lost = store.create(), store.create()
        ask(store, kept, "Say yes.")
        store.save(kept.name)
        ask(store, kept, "Louder.")
        ask(store, lost, "Say yes.")
        fork = store.fork(kept.name)
        expected = ask(store, fork, "Again.")
    with SessionStore(engine, tmp_path / "sessions") as store:
        assert store.names() == [kept.name]
        assert store.get(kept.name).turns == 2
        assert ask(store, kept, "Again.") == expected
        store.undo(kept.name)
        store.undo(kept.name)
        with pytest.raises(DataError, match="there is no session"):
            store.get(lost.name)
        store.delete(kept.name)
        assert store.names() == []
    assert list((tmp_path / "sessions").iterdir()) == []


def test_stores_of_one_folder_go_on_with_each_others_sessions(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    with SessionStore(engine, folder, shared=True) as here, SessionStore(engine, folder, shared=True) as there:
        talk = here.create()
        ask(there, talk, "Say yes.")
        there.flush(talk.name)
        fork = here.fork(talk.name)
        expected = ask(there, fork, "Again.")
        assert ask(here, talk, "Again.") == expected
        here.flush(talk.name)
        assert there.undo(talk.name).turns == 1
        assert ask(here, talk, "Again.") == expected, "what the other store took back is forgotten"
        here.delete(talk.name)
        with pytest.raises(DataError, match="there is no session"):
            there.get(talk.name)
        assert here.names() == there.names() == [fork.name]
    with pytest.raises(ModRWKVError, match="no folder"):
        SessionStore(engine, shared=True)


@pytest.mark.filterwarnings("ignore:.*is not saved:UserWarning")
def test_whoever_waits_for_a_session_to_be_written_learns_that_it_was_not(engine: Engine, tmp_path: Path) -> None:
    with SessionStore(engine, tmp_path / "sessions") as store:
        talk = store.create()
        store.save(talk.name)
        (tmp_path / "sessions" / talk.name / "conversation.json").unlink()
        (tmp_path / "sessions" / talk.name).rmdir()
        (tmp_path / "sessions" / talk.name).touch()
        ask(store, talk, "Say yes.")
        with pytest.raises(WriteError, match=talk.name):
            store.flush(talk.name)
        (tmp_path / "sessions" / talk.name).unlink()
        store.flush(talk.name)
    with SessionStore(engine, tmp_path / "sessions") as store:
        assert store.get(talk.name).turns == 1


def test_a_shared_session_that_cannot_be_written_is_not_begun(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "sessions").touch()
    with SessionStore(engine, tmp_path / "sessions", shared=True) as store:
        with pytest.raises(WriteError):
            store.create()
        assert store.names() == []


def test_sessions_of_another_model_and_damaged_ones_are_refused(engine: Engine, tmp_path: Path) -> None:
    with SessionStore(engine, tmp_path / "sessions") as store:
        one = store.create()
        ask(store, one, "Say yes.")
        store.save(one.name)
    engine.session.model_digest = "another@0123456789abcdef"
    with (
        SessionStore(engine, tmp_path / "sessions") as store,
        pytest.raises(CheckpointError, match=r"not to another \(0123456789ab\)"),
    ):
        store.get(one.name)
    (tmp_path / "sessions" / one.name / "conversation.json").write_text("{}")
    with SessionStore(engine, tmp_path / "sessions", limit=1) as store:
        other = store.create()
        with pytest.raises(CheckpointError, match="is damaged"):
            store.get(one.name)
        assert one.name in store
        store.delete(one.name)
        assert one.name not in store
        with pytest.raises(DataError, match="there is no session"):
            store.delete(one.name)
        assert store.names() == [other.name], "nothing has left memory"
    assert list((tmp_path / "sessions").iterdir()) == []


def test_what_was_not_used_for_longest_makes_room(engine: Engine, tmp_path: Path) -> None:
    with SessionStore(engine, tmp_path / "sessions", limit=2) as store:
        one = store.create()
        expected = ask(store, one, "Say yes.")
        store.save(one.name)
        two = store.create()
        three = store.create()
        assert ask(store, three, "Say yes.") == expected
        store.create()
        assert store.get(one.name).turns == 1, "what was saved is read back"
        with pytest.raises(DataError, match="no session"):
            store.get(two.name)  # nobody saved it, and it was not used for longest


def test_a_session_answers_one_request_at_a_time(engine: Engine) -> None:
    store = SessionStore(engine)
    one = store.create()
    generation = store.submit(Request(user("Say yes."), max_tokens=10**9, session=one.name))
    with pytest.raises(ModRWKVError, match="is being answered"):
        store.submit(Request(user("Say no."), session=one.name))
    with pytest.raises(ModRWKVError, match="is being answered"):
        store.undo(one.name)
    next(iter(generation))
    generation.cancel()
    generation.result(PATIENCE)
    assert store.get(one.name).turns == 1
    with pytest.raises(DataError, match="there is no session"):
        store.submit(Request(user("Say no."), session="../etc"))


def test_states_in_memory_are_bounded_by_their_bytes(engine: Engine) -> None:
    state_bytes = engine.session.model.backbone.init_state(1).nbytes
    store = SessionStore(engine, max_bytes=2 * state_bytes)
    one, two, three = (store.create() for _ in range(3))
    ask(store, one, "Say yes.")
    ask(store, two, "Say yes.")
    fork = store.fork(two.name)
    assert one.name in store, "a fork shares its state"
    ask(store, three, "Say yes.")
    assert one.name not in store
    assert {two.name, three.name, fork.name} <= set(store.names())


def test_reading_a_session_does_not_hold_up_the_answers_of_others(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SessionStore(engine, tmp_path / "sessions") as store:
        saved = store.create()
        ask(store, saved, "Say yes.")
        store.save(saved.name)
    begun, go_on, read = threading.Event(), threading.Event(), SessionFolder.read

    def slowly(self: SessionFolder, name: str, known: Conversation | None = None) -> Conversation:
        begun.set()
        go_on.wait(PATIENCE)
        return read(self, name, known)

    monkeypatch.setattr(SessionFolder, "read", slowly)
    with SessionStore(engine, tmp_path / "sessions") as store:
        waiting = threading.Thread(target=store.get, args=(saved.name,))
        waiting.start()
        begun.wait(PATIENCE)
        ask(store, store.create(), "Say yes.")
        go_on.set()
        waiting.join(PATIENCE)
        assert store.get(saved.name).turns == 1


def ask_and_write(store: SessionStore, conversation: Conversation) -> None:
    ask(store, conversation, "Say yes.")
    store._disk.submit(int).result(PATIENCE)


def test_turns_that_could_not_be_written_stay_in_memory(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SessionFolder, conversation: Conversation) -> None:
        raise WriteError("the disk is full")

    with SessionStore(engine, tmp_path / "sessions", limit=2) as store:
        one = store.create()
        store.save(one.name)
        with monkeypatch.context() as full:
            full.setattr(SessionFolder, "write", fail)
            with pytest.warns(UserWarning, match="the disk is full"):
                ask_and_write(store, one)
        for _ in range(2):
            store.create()
        assert store.get(one.name).turns == 1
    with SessionStore(engine, tmp_path / "sessions") as store:
        assert store.get(one.name).turns == 1, "closing tries again"


def test_a_session_that_was_deleted_meanwhile_does_not_come_back(engine: Engine, tmp_path: Path) -> None:
    with SessionStore(engine, tmp_path / "sessions") as store:
        one = store.create()
        store.save(one.name)
        generation = store.submit(Request(user("Say yes."), max_tokens=10**9, session=one.name))
        store.delete(one.name)
        generation.cancel()
        generation.result(PATIENCE)
        assert one.name not in store
    assert list((tmp_path / "sessions").iterdir()) == []
