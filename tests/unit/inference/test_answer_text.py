"""Text from tokens, against what can be read off the whole answer at once."""

import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.tokenizers.config import WorldConfig
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.answer_text import AnswerText, Piece
from modrwkv_core.interfaces.tokenizer import Tokenizer

WORLD = WorldTokenizer(WorldConfig())

texts = st.text(st.sampled_from("ab \n<>/thinké語🦆"), max_size=30)


class Chunks(Tokenizer):
    """Token i is the i-th of given chunks of bytes, wherever characters end."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> bytes:
        return b"".join(self.chunks[index] for index in ids)


def pieces(data: st.DataObject, text: str, stop: Sequence[str], reasoning: bool, leading_space: bool) -> list[Piece]:
    whole = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    answer = AnswerText(Chunks(chunks), stop, reasoning, leading_space=leading_space)
    given = [piece for token in range(len(chunks)) for piece in answer.feed(token)]
    return given + answer.finish()


def read(pieces: Iterable[Piece], channel: str) -> str:
    return "".join(piece.text for piece in pieces if piece.channel == channel)


def cut(text: str, stop: Sequence[str]) -> str:
    """Return ``text`` before the first stop string that is completed, reading one character after the other."""
    for end in range(len(text) + 1):
        if ending := [one for one in stop if text[:end].endswith(one)]:
            return text[: end - max(map(len, ending))]
    return text


stops = st.lists(st.text(st.sampled_from("ab \n<é語"), min_size=1, max_size=4), max_size=3)


@given(text=texts, stop=stops, leading_space=st.booleans(), data=st.data())
def test_content_ends_before_the_first_stop_string(
    text: str, stop: list[str], leading_space: bool, data: st.DataObject
) -> None:
    given = pieces(data, text, stop, reasoning=False, leading_space=leading_space)
    assert read(given, "content") == cut(text.lstrip() if leading_space else text, stop)
    assert not read(given, "reasoning")
    assert all(piece.text for piece in given)


@given(thought=texts, text=texts, stop=stops, closed=st.booleans(), data=st.data())
def test_reasoning_ends_at_its_tag_and_stop_strings_count_only_after_it(
    thought: str, text: str, stop: list[str], closed: bool, data: st.DataObject
) -> None:
    answer = f">{thought}</think>{text}" if closed else f">{thought}"
    given = pieces(data, answer, stop, reasoning=True, leading_space=False)
    if match := re.fullmatch(r">\s*(.*?)\s*</think>\s*(.*)", answer, re.DOTALL):
        assert (read(given, "reasoning"), read(given, "content")) == (match[1], cut(match[2], stop))
    else:
        assert (read(given, "reasoning"), read(given, "content")) == (thought.lstrip(), "")


def test_text_comes_as_soon_as_it_is_decided() -> None:
    answer = AnswerText(WORLD, ["END"], reasoning=True)
    split = [byte + 1 for byte in "語".encode()]
    tokens = [*WORLD.encode(">\nWell, 語 "), *split, *WORLD.encode("\n</think>\n\nIt is E, not END!")]
    given = [[(piece.channel, piece.text) for piece in answer.feed(token)] for token in tokens]
    flat = [one for step in given for one in step]
    assert "".join(text for channel, text in flat if channel == "reasoning") == "Well, 語 語"
    assert "".join(text for channel, text in flat if channel == "content") == "It is E, not "
    thought = AnswerText(WORLD, reasoning=True)
    assert [piece for token in WORLD.encode(">\nWell") for piece in thought.feed(token)] == [Piece("reasoning", "Well")]
    assert answer.stopped == "END"
    assert answer.feed(WORLD.encode("more")[0]) == answer.finish() == []


def test_half_a_character_at_the_end_shows_as_a_replacement() -> None:
    answer = AnswerText(WORLD)
    assert answer.feed(0xE8 + 1) == []
    assert answer.finish() == [Piece("content", "\ufffd")]
    assert answer.stopped is None


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ModRWKVError, match="stop string is empty"):
        AnswerText(WORLD, ["a", ""])
