"""Calls of functions are told from text, wherever the pieces of an answer begin and end."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.serving.schemas.chat import Function, NamedFunction, NamedTool
from modrwkv_core.serving.tools import ToolReader, call_schema, called_text

ADD = Function(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}})
NOW = Function(name="now")


def read(text: str, cuts: list[int], must_call: bool = False) -> tuple[str, list[tuple[str, str]]]:
    reader = ToolReader([ADD, NOW], must_call)
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    content = "".join(reader.feed(text[a:b]) for a, b in pairwise(places))
    rest, calls = reader.finish()
    return content + rest, [(call.function.name, call.function.arguments) for call in calls]


CUTS = st.lists(st.integers(0, 500), max_size=12)


@given(CUTS)
def test_calls_are_found(cuts: list[int]) -> None:
    first, second = '{"name": "add", "arguments": {"a": 1}}', '{"name":"now","arguments":{}}'
    text = f" <tool_call>{first}</tool_call>\n<tool_call>{second}</tool_call> "
    assert read(text, cuts) == ("", [("add", '{"a": 1}'), ("now", "{}")])


@given(
    st.one_of(st.text(max_size=40), st.sampled_from(["<tool_call>", "<tool_ca", "<", "<tool_call>{}</tool_call>"])),
    CUTS,
)
def test_all_else_is_text_to_the_last_character(text: str, cuts: list[int]) -> None:
    assert read(text, cuts) == (text, [])


@given(CUTS)
def test_a_call_of_an_unknown_function_is_text(cuts: list[int]) -> None:
    text = '<tool_call>{"name": "erase", "arguments": {}}</tool_call>'
    assert read(text, cuts) == (text, [])


@given(CUTS)
def test_a_required_call_is_the_object_itself(cuts: list[int]) -> None:
    assert read('{"name": "now", "arguments": {}}', cuts, must_call=True) == ("", [("now", "{}")])
    assert read('{"name": "now", "argu', cuts, must_call=True) == ('{"name": "now", "argu', [])


def test_the_schema_of_a_required_call_names_the_chosen_functions() -> None:
    assert call_schema([ADD, NOW], "auto") is None
    both = call_schema([ADD, NOW], "required")
    assert both is not None
    assert [one["properties"]["name"]["const"] for one in both["anyOf"]] == ["add", "now"]
    named = call_schema([ADD, NOW], NamedTool(type="function", function=NamedFunction(name="add")))
    assert named is not None
    assert named["properties"]["arguments"] == ADD.parameters


def test_a_former_call_reads_as_the_model_writes_it() -> None:
    reader = ToolReader([NOW], must_call=True)
    reader.feed('{"name": "now", "arguments": {}}')
    [found] = reader.finish()[1]
    text = called_text(found)
    assert json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>")) == {"name": "now", "arguments": {}}
