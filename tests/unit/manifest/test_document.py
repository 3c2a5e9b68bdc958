from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import ManifestError
from modrwkv_core.manifest.document import parse, read_document, write_yaml

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2.", 2.0),
        (".5", 0.5),
        ("-1.5E+2", -150.0),
        (".inf", float("inf")),
        ("010", 10),
        ("+7", 7),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("No", "No"),
        ("True", "True"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-05-01", "2024-05-01"),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    read = parse(text, "text").plain()
    assert read == value
    assert type(read) is type(value)


@given(DOCUMENTS)
def test_what_is_written_is_read_back(value):
    assert parse(write_yaml(value), "text").plain() == value


@given(DOCUMENTS)
def test_what_is_written_means_the_same_to_other_readers(value):
    assert yaml.safe_load(write_yaml(value)) == value


@given(st.dictionaries(st.from_regex(r"[a-z][a-z./-]*", fullmatch=True), SCALARS, min_size=1, max_size=5))
def test_each_scalar_is_written_on_a_line_of_its_own(mapping):
    origins = [value.origin for path, value in parse(write_yaml(mapping), "f").walk() if path]
    assert origins == [f"f:{line}" for line in range(1, len(mapping) + 1)]


def test_values_know_their_lines():
    text = "a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n"
    assert {path: value.origin for path, value in parse(text, "f").walk()} == {
        (): "f:1",
        ("a",): "f:1",
        ("b",): "f:2",
        ("b", 0): "f:3",
        ("b", 1): "f:4",
        ("b", 1, "c"): "f:4",
        ("b", 1, "d"): "f:5",
    }


def test_an_anchor_may_be_used_twice():
    assert parse("a: &x {k: 1}\nb: *x", "f").plain() == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: 1\na: 2", r"^f:2: the key 'a' is given twice \(first: f:1\)$", "remove"),
        ("a:\n  b: {c: 1, c: 2}", r"^f:2: the key 'c' is given twice \(first: f:2\)$", "remove"),
        ("a: 1\nb: [1, 2", r"^f:2: not valid YAML: expected ',' or '\]'", "quotes"),
        ("a: b: c", r"^f:1: not valid YAML: mapping values", "quotes"),
        ("a:\n\tb: 1", r"^f:2: not valid YAML: found character '\\t'", "tabs"),
        ("a: 1\n---\nb: 2", r"^f:2: not valid YAML: but found another document", ""),
        ("a: 1\nb: \x00", r"^f:2: not valid YAML: special characters", None),
        ("a: *nowhere", r"^f:1: not valid YAML: found undefined alias", ""),
        ("a: 1\nb: &x [*x]", r"^f:2: the value contains itself$", "alias"),
        ("x: 1\n? [a, b]\n: c", r"^f:2: a key must be a word$", None),
        ("a: !thing 3", r"^f:1: a value with the tag !thing is not allowed", "remove"),
        ("a: !!set {b}", r"^f:1: a value with the tag .*set is not allowed$", "remove"),
        ("[" * 3000, r"^f:1: values are nested too deeply$", None),
        ("a: !!int x", r"^f:1: 'x' does not fit its tag", "remove"),
        ("a: !!bool maybe", r"^f:1: 'maybe' does not fit its tag", "remove"),
        ("a: !!timestamp zzz", r"^f:1: a value with the tag .*timestamp is not allowed", "remove"),
        (f"a: {'9' * 5000}", r"^f:1: not a number that can be read", None),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(text, message, hint):
    with pytest.raises(ManifestError) as caught:
        parse(text, "f")
    assert re.search(message, caught.value.message), caught.value.message
    assert caught.value.hint is None if hint is None else hint in caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"none\.yaml: there is no such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        read_document(tmp_path)
    picture = tmp_path / "image.yaml"
    picture.write_bytes(b"\x89PNG\xff")
    with pytest.raises(ManifestError, match=r"image\.yaml: not UTF-8 text \(byte 0\)"):
        read_document(picture)


@pytest.mark.parametrize("inner", ["[{0}]", "{{{0}}}"])
def test_aliases_that_multiply_are_refused(inner):
    def uses(name):
        return ", ".join(f"k{index}: *{name}" if inner.startswith("{") else f"*{name}" for index in range(10))

    first = "a0: &a0 {x: 1}\n" if inner.startswith("{") else "a0: &a0 [x]\n"
    bomb = first + "".join(f"a{n}: &a{n} {inner.format(uses(f'a{n - 1}'))}\n" for n in range(1, 30))
    with pytest.raises(ManifestError, match=r"^f:\d+: more than 100000 values"):
        parse(bomb, "f")
