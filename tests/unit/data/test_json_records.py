import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modrwkv_core.data.sources.json_records import JsonRecords
from modrwkv_core.errors import DataError

objects = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.lists(st.floats(-9, 9))), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(objects=objects, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_json_lists_and_lines_equal_the_library(
    tmp_path: Path, objects: list[dict[str, Any]], indent: int | None, ascii_only: bool
) -> None:
    listed = tmp_path / "list.json"
    listed.write_bytes(json.dumps(objects, indent=indent, ensure_ascii=ascii_only).replace("\n", "\r\n").encode())
    lined = tmp_path / "lines.jsonl"
    lined.write_bytes(b"\n \r\n".join(json.dumps(one, ensure_ascii=ascii_only).encode() for one in objects))
    for path in (listed, lined):
        records = JsonRecords(path)
        assert [records[index] for index in range(len(records))] == objects


def test_objects_are_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"b": 2}\n')
    assert JsonRecords(path).key(1) == f"{path}:3"
    path.write_text('[\n{"a": 1},\n\n{"b":\n 2},{"c": 3}]')
    assert [JsonRecords(path).key(index) for index in range(3)] == [f"{path}:2", f"{path}:4", f"{path}:5"]


@pytest.mark.parametrize("content", ['{"a": 1}\n{"b": 2}\n', '[{"a": 1}, {"b": 2}]'])
def test_byte_order_marks_are_no_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8-sig")
    records = JsonRecords(path)
    assert [records[0], records[1]] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', "a.jsonl:2: not valid JSON"),
        (b'{"a": 1}\n[1]\n', "a.jsonl:2: should be a JSON object, not list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "a.jsonl:2: not UTF-8 at byte 7"),
        (b'[{"a": 1},\n {"a": 1} {"a": 1}]', "a.jsonl:2: not valid JSON: a comma or the end"),
        (b'[{"a": 1},\n {"a": 1', "a.jsonl:2: not valid JSON"),
        (b'[{"a": 1}, 5]', "a.jsonl:1: should be a JSON object, not int"),
        (b'[{"a": "\xff"}]', "a.jsonl:? ?.*not UTF-8"),
        (b'[{"a": 1}]\n{"b": 2}\n', "a.jsonl:2: not valid JSON: more follows the end of the list"),
        (b"[" * 50_000, "a.jsonl: JSON that cannot be read"),
        (b'{"a": 1}\n{"a": ' + b"[" * 50_000 + b"\n", "a.jsonl:2: JSON that cannot be read"),
        (b'{"a": 1}\n{"a": ' + b"9" * 5000 + b"}\n", "a.jsonl:2: JSON that cannot be read"),
        (b"[]", "a.jsonl holds an empty list"),
        (b"\n \n", "a.jsonl is empty"),
    ],
)
def test_broken_json_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        JsonRecords(path)[1]


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    sizes = []
    for width in (10, 10_000):
        path = tmp_path / f"{width}.jsonl"
        path.write_text((json.dumps({"text": "x" * width}) + "\n") * 50)
        sizes.append(len(pickle.dumps(JsonRecords(path))))
    assert abs(sizes[1] - sizes[0]) < 100
