"""Paths in typed lines."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.cli.paths import existing_paths, one_path
from modrwkv_core.errors import DataError

NAMES = ["plain.png", "two words.png", "it's.png", 'a "b".png', "back\\slash.png", "\u00fcber 100%.png"]


@pytest.mark.parametrize("name", NAMES)
def test_a_dropped_file_is_found_however_the_terminal_pastes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.touch()
    with_backslashes = "".join(f"\\{letter}" if letter in " '\"\\%" else letter for letter in str(path))
    for pasted in (str(path), shlex.quote(str(path)), with_backslashes, path.as_uri()):
        assert existing_paths(pasted) == [path]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing_paths(f"~/{name}") == [path]


def test_several_files_may_be_dropped_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in NAMES]
    for path in paths:
        path.touch()
    assert existing_paths(shlex.join(map(str, paths))) == paths


@pytest.mark.parametrize("text", ["nowhere.png", "'open quote", "~nobody-of-that-name/a.png", "file://[", "a" * 5000])
def test_a_missing_file_is_an_error(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"there is no file|cannot be read"):
        existing_paths(text)


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(lambda text: text[0] not in "~")
)
def test_one_path_undoes_quoting(name: str) -> None:
    assert one_path(shlex.quote(f"./{name}")) == Path(f"./{name}")


def test_one_path_may_have_spaces() -> None:
    assert one_path("two words") == Path("two words")
