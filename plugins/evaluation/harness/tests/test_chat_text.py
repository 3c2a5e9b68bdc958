from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_eval.chat_text import is_chat, parse_chat, render_chat

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Text, Turn

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SHOWN = str.maketrans({"\x16": "␖", "\x17": "␗"})


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), min_size=1), TEXTS)
def test_conversations_survive(messages: list[tuple[str, str]], answer: str) -> None:
    made = [{"role": role, "content": text} for role, text in messages]
    turns = tuple(Turn(role, (Text(text.translate(SHOWN)),)) for role, text in messages)
    text = render_chat(made, open_answer=True)
    assert is_chat(text)
    assert parse_chat(text) == (turns, "")
    begun = render_chat([*made, {"role": "assistant", "content": answer}], open_answer=False)
    assert parse_chat(begun) == (turns, answer.translate(SHOWN))


def test_the_harness_appends_a_continuation_to_the_answer() -> None:
    text = render_chat([{"role": "user", "content": "Is it?"}], open_answer=True)
    assert parse_chat(f"{text} yes") == ((Turn("user", (Text("Is it?"),)),), " yes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\x16user:hello", "ends with the user"),
        ("\x16user:hello\x17assistant:", "is not a turn"),
        ("\x16robot:hello\x17\x16assistant:", "is not a turn"),
    ],
)
def test_what_is_no_open_conversation_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_chat(text)


def test_texts_are_no_conversations() -> None:
    assert not is_chat("user: hello")
