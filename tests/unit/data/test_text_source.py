from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.data.sources.chat import ChatSource
from modrwkv_core.data.sources.config import ChatConfig, LlavaConfig, TextConfig
from modrwkv_core.data.sources.llava import LlavaSource
from modrwkv_core.data.sources.text import TextSource
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Text, Turn

WIKI = " \n = Cats = \n \n Cats = animals .\n \n = = Food = = \n \n Mice .\n = Dogs = \n Dogs .\n"


def texts(path: Path, **settings: Any) -> dict[str, str]:
    source = TextSource(TextConfig(path=path, **settings))
    records = [source[index] for index in range(len(source))]
    assert all(turn.role == "assistant" for record in records for turn in record.turns)
    return {
        record.key.rpartition(":")[2]: part.text
        for record in records
        for part in record.turns[0].parts
        if isinstance(part, Text)
    }


def test_lines_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone \r\n  \n\ntwo words")
    assert texts(path) == {"1": "one ", "4": "two words"}


def test_articles_begin_with_their_titles_and_keep_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "wiki.test.raw"
    path.write_text(WIKI)
    found = texts(path, split="articles")
    assert list(found) == ["2", "9"]
    assert "".join(found.values()) == WIKI.removeprefix(" \n")
    assert texts(path, split="file") == {"1": WIKI}


def test_text_before_the_first_title_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "wiki.test.raw"
    path.write_text("\ufeffA preface .\n" + WIKI)
    assert list(texts(path, split="articles").items())[:2] == [("1", "A preface .\n \n"), ("3", WIKI[2:60])]


def test_objects_of_json_lines_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "lambada.jsonl"
    path.write_text('{"text": "in my palm"}\n{"text": 3}\n')
    source = TextSource(TextConfig(path=path))
    assert source[0].turns == (Turn("assistant", (Text("in my palm"),)),)
    with pytest.raises(DataError, match=r"lambada.jsonl:2: has no text 'text'"):
        source[1]


@pytest.mark.parametrize("split", ["lines", "articles", "file"])
def test_files_without_texts_are_refused(split: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(" \n\n")
    with pytest.raises(DataError, match="is empty"):
        texts(path, split=split)
    path.write_text("no titles here\n")
    with pytest.raises(DataError, match="no line is a title"):
        texts(path, split="articles")


def test_other_keys_of_conversations_are_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "red"}], "answers": ["red"]}'
    )
    (tmp_path / "b.json").write_text(
        '[{"id": 1, "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "red"}]}]'
    )
    assert ChatSource(ChatConfig(path=tmp_path / "a.jsonl"))[0].annotations == {"answers": ["red"]}
    assert LlavaSource(LlavaConfig(path=tmp_path / "b.json"))[0].annotations == {"id": 1}
