import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.config import BytesConfig, WorldConfig
from modrwkv_core.data.tokenizers.stream import Utf8Stream
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.tokenizer import Tokenizer

TOKENIZERS = [WorldTokenizer(WorldConfig()), BytesTokenizer(BytesConfig())]
every_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["world", "bytes"])

# Text that provokes greedy matching: markers, their literals, and what the vocabulary merges with a following "<".
TROUBLE = [
    "\x16",
    "\x17",
    "\x00",
    "<|image_pad|>",
    "<|vision_start|>",
    "<image>",
    "User:",
    " ",
    '"',
    ".",
    "<",
    "\n",
    "é",
    "語",
]
hostile_text = st.lists(st.sampled_from(TROUBLE) | st.text(max_size=8), max_size=12).map("".join)


@pytest.fixture(scope="module")
def judge() -> TRIE_TOKENIZER:
    """The tokenizer of the authors of RWKV, over the vocabulary that their own package ships."""
    import rwkv

    return TRIE_TOKENIZER(str(Path(rwkv.__path__[0]) / "rwkv_vocab_v20230424.txt"))


@settings(deadline=None)
@given(text=hostile_text)
def test_world_equals_the_official_tokenizer(judge: TRIE_TOKENIZER, text: str) -> None:
    visible = text.replace("\x16", "\u2416").replace("\x17", "\u2417")
    ids = TOKENIZERS[0].encode(text)
    assert ids == judge.encode(visible)
    assert TOKENIZERS[0].decode(ids) == judge.decodeBytes(ids)


def test_world_ids_of_the_template() -> None:
    # The pretrained models' prompts, byte 0x16 apart.
    world = TOKENIZERS[0]
    assert world.encode("User:") == [24281, 59]
    assert world.encode("Assistant:") == [5585, 41693, 59]


@every_tokenizer
@settings(deadline=None)
@given(text=hostile_text)
def test_text_never_forges_markers(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not set(ids) & (tokenizer.special.all() | {0})
    assert all(0 < index < tokenizer.vocab_size for index in ids)
    assert tokenizer.decode(ids).decode() == text.replace("\x16", "\u2416").replace("\x17", "\u2417")


@every_tokenizer
def test_literal_of_a_marker_stays_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("<|image_pad|>")) == b"<|image_pad|>"


@every_tokenizer
def test_markers_decode_to_nothing(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([*sorted(tokenizer.special.all()), 0, tokenizer.vocab_size - 1, 10**6]) == b""
    assert max(tokenizer.special.all()) < tokenizer.vocab_size
    assert len(tokenizer.special.all()) == 6


@every_tokenizer
def test_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"U\+D800 at character 2"):
        tokenizer.encode("ab\ud800")


@every_tokenizer
def test_pickles(tokenizer: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode("Which key?") == tokenizer.encode("Which key?")
    assert copy.special == tokenizer.special
    assert len(pickle.dumps(tokenizer)) < 1000


def test_no_other_entry_of_the_published_vocabulary_holds_a_turn_marker() -> None:
    root = os.environ.get("MODRWKV_DATA")
    if root is None:
        pytest.skip("MODRWKV_DATA is not set: no published vocabulary file to scan")
    entries = TRIE_TOKENIZER(str(Path(root) / "text" / "rwkv_vocab_v20230424.txt")).idx2token
    assert {index for index, entry in entries.items() if {0x16, 0x17} & set(entry)} == {23, 24}
    world = TOKENIZERS[0]
    assert all(world.decode([index]) == entry for index, entry in entries.items() if index not in (23, 24))


@given(text=st.text(max_size=40), data=st.data())
def test_stream_equals_the_whole_text(text: str, data: st.DataObject) -> None:
    whole = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    stream = Utf8Stream()
    pieces = [stream.feed(whole[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert "".join([*pieces, stream.finish()]) == text


def test_stream_holds_half_a_character_back() -> None:
    stream = Utf8Stream()
    first, second, third = "語".encode()
    assert [stream.feed(bytes([byte])) for byte in (first, second, third)] == ["", "", "語"]
    assert stream.feed(bytes([first])) == ""
    assert stream.finish() == "\ufffd"
