from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import ManifestError
from modrwkv_core.manifest.document import mark
from modrwkv_core.manifest.layers import apply_overrides, from_arguments, from_environment, merge

KEYS = st.sampled_from(["a", "b", "c", "d"])
SCALARS = st.integers(0, 9) | st.sampled_from(["x", "y"])
TREES = st.dictionaries(
    KEYS,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)),
    max_size=4,
)


def merged(base: Any, over: Any) -> Any:
    return merge(mark(base, "base"), mark(over, "base")).plain()


def overridden(tree: Any, *arguments: str) -> Any:
    return apply_overrides(mark(tree, "base"), from_arguments(arguments)).plain()


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Everything but the mappings that hold something."""
    if isinstance(tree, dict) and tree:
        return {where: leaf for key in tree for where, leaf in leaves(tree[key], (*path, key)).items()}
    return {path: tree}


def names_items(base: Any, over: Any) -> bool:
    """Whether a mapping of ``over`` lies on a list of ``base``."""
    if isinstance(base, dict) and isinstance(over, dict):
        return any(names_items(base[key], over[key]) for key in base.keys() & over.keys())
    return isinstance(base, list) and isinstance(over, dict)


PAIRS = st.tuples(TREES, TREES).filter(lambda pair: not names_items(*pair))


@given(TREES)
def test_nothing_changes_nothing(tree):
    assert merged(tree, {}) == merged({}, tree) == merged(tree, tree) == tree


@given(PAIRS)
def test_what_is_laid_on_wins(pair):
    base, over = pair
    result = leaves(merged(base, over))
    for path, leaf in leaves(over).items():
        if leaf != {}:
            assert result[path] == leaf


@given(PAIRS)
def test_what_is_not_laid_on_stays(pair):
    base, over = pair
    result = leaves(merged(base, over))
    covered = leaves(over)
    for path, leaf in leaves(base).items():
        touched = any(path[: len(other)] == other or other[: len(path)] == path for other in covered)
        if not touched:
            assert result[path] == leaf


@given(PAIRS)
def test_merging_leaves_its_arguments_alone(pair):
    base, over = pair
    first, second = mark(base, "base"), mark(over, "base")
    merge(first, second)
    assert (first.plain(), second.plain()) == (base, over)


@given(PAIRS)
def test_every_value_keeps_the_layer_that_it_comes_from(pair):
    base, over = pair
    result = merge(mark(base, "base"), mark(over, "over"))
    for path, value in result.walk():
        if not isinstance(value.content, dict):
            expected = "over" if path in leaves(over) or _inside_list(over, path) else "base"
            assert value.origin == expected


def _inside_list(tree: Any, path: tuple[Any, ...]) -> bool:
    return any(path[: len(where)] == where and isinstance(leaf, list) for where, leaf in leaves(tree).items())


@given(TREES, st.lists(KEYS, min_size=1, max_size=3), SCALARS)
def test_an_override_sets_its_path_and_nothing_else(tree, words, value):
    try:
        result = overridden(tree, f"{'.'.join(words)}={value}")
    except ManifestError:
        node = tree
        for word in words[:-1]:
            node = node.get(word, {})
            if not isinstance(node, dict):
                return
        raise
    before, after = leaves(tree), leaves(result)
    assert after.pop(tuple(words)) == value
    assert all(before[path] == leaf for path, leaf in after.items())


def test_mappings_are_merged_and_lists_replaced():
    assert merged({"a": {"k": 1, "l": [1, 2]}}, {"a": {"l": [3], "m": 0}}) == {"a": {"k": 1, "l": [3], "m": 0}}


def test_a_mapping_laid_on_a_list_changes_the_items_that_it_names():
    base = {"phases": [{"name": "first", "lr": 1, "steps": 2}, {"name": "second", "lr": 3}]}
    over = {"phases": {"second": {"lr": 4}, "first": {"steps": 5}}}
    expected = {"phases": [{"name": "first", "lr": 1, "steps": 5}, {"name": "second", "lr": 4}]}
    assert merged(base, over) == expected
    assert merged(base, {"phases": {"0": {"steps": 5}, 1: {"lr": 4}}}) == expected
    assert merged(base, {"phases": {}}) == base


@pytest.mark.parametrize(
    ("over", "hint"), [({"frist": {"lr": 1}}, "did you mean 'first'?"), ({"2": {"lr": 1}}, "its items: first, second")]
)
def test_a_mapping_laid_on_a_list_names_only_what_is_there(over, hint):
    base = {"phases": [{"name": "first"}, {"name": "second"}]}
    with pytest.raises(ManifestError, match=f"over: phases has no item '{next(iter(over))}'") as caught:
        merge(mark(base, "base"), mark({"phases": over}, "over"))
    assert caught.value.hint == hint


@pytest.mark.parametrize("discriminator", ["type", "source"])
def test_a_section_that_becomes_something_else_loses_its_keys(discriminator):
    base = {"part": {discriminator: "eye", "hidden_size": 3, "deep": {"k": 1}}, "other": 1}
    assert merged(base, {"part": {discriminator: "ear", "rate": 8}}) == {
        "part": {discriminator: "ear", "rate": 8},
        "other": 1,
    }
    assert merged(base, {"part": {discriminator: "eye", "rate": 8}})["part"]["hidden_size"] == 3
    assert merged(base, {"part": {discriminator: "toys/eye"}})["part"] == {
        discriminator: "toys/eye",
        "hidden_size": 3,
        "deep": {"k": 1},
    }
    assert merged(base, {"part": {"hidden_size": 4}})["part"] == {
        discriminator: "eye",
        "hidden_size": 4,
        "deep": {"k": 1},
    }


def test_overrides_of_a_new_type_and_its_keys_come_in_any_order():
    tree = {"part": {"type": "eye", "hidden_size": 3}}
    expected = {"part": {"type": "ear", "rate": 8}}
    assert overridden(tree, "part.type=ear", "part.rate=8") == expected
    assert overridden(tree, "part.rate=8", "part.type=ear") == expected


def test_list_items_are_reached_by_index_or_name():
    tree = {"phases": [{"name": "align", "lr": 1}, {"name": "finetune", "lr": 2}]}
    assert overridden(tree, "phases.1.lr=5") == overridden(tree, "phases.finetune.lr=5")
    assert overridden(tree, "phases.finetune.lr=5")["phases"] == [
        {"name": "align", "lr": 1},
        {"name": "finetune", "lr": 5},
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("[1, x]", [1, "x"]),
        ("{k: 1}", {"k": 1}),
        ("null", None),
        ("", None),
        ("a=b", "a=b"),
        ("'1'", "1"),
        ("yes", "yes"),
    ],
)
def test_values_are_yaml(text, value):
    assert overridden({}, f"k={text}") == {"k": value}


def test_a_value_may_come_from_a_file(tmp_path):
    file = tmp_path / "phases.yaml"
    file.write_text("- name: align\n  lr: 1e-3\n")
    tree = apply_overrides(mark({"phases": []}, "base"), from_arguments([f"phases=@{file}"]))
    assert tree.plain() == {"phases": [{"name": "align", "lr": 1e-3}]}
    assert dict(tree.walk())["phases", 0, "lr"].origin == f"{file}:2"


def test_a_null_section_can_be_filled():
    assert overridden({"compressor": None}, "compressor.type=pool") == {"compressor": {"type": "pool"}}


def test_the_environment_sets_nested_values():
    environ = {"MODRWKV__PHASES__ALIGN__LR": "1e-4", "MODRWKV__SEED": "3", "MODRWKV_PLUGINS": "x", "SEED": "4"}
    tree = apply_overrides(mark({"phases": [{"name": "align"}]}, "base"), from_environment(environ))
    assert tree.plain() == {"phases": [{"name": "align", "lr": 1e-4}], "seed": 3}


def test_the_longer_variable_goes_before_its_short_form():
    environ = {"MODRWKV_DATA": "/short", "MODRWKV__DATA_ROOT": "/long"}
    assert apply_overrides(mark({}, "base"), from_environment(environ)).plain() == {"data_root": "/long"}
    assert from_environment({"MODRWKV_DATA": ""}) == []


TREE = {"seed": 3, "empty": [], "phases": [{"name": "align"}, {"name": ["odd"]}]}


@pytest.mark.parametrize(
    ("argument", "message", "hint"),
    [
        ("seed", "command line: 'seed' is not of the form key=value", "phases.0.lr=2e-4"),
        ("phases..lr=1", "command line: 'phases..lr' is not a dotted path", "phases.0.lr"),
        ("=1", "command line: '' is not a dotted path", "phases.0.lr"),
        ("phases.algn.lr=1", "command line: phases has no item 'algn'", "did you mean 'align'?"),
        ("phases.7.lr=1", "command line: phases has no item '7'", "its items: align"),
        ("empty.0=1", "command line: empty has no item '0'", "it is empty"),
        ("seed.deep=1", "command line: seed is 3, which has no key 'deep'", None),
        ("seed=[1", "command line: not valid YAML: expected ',' or ']', but got '<stream end>'", "quotes"),
        ("seed=@none.yaml", "none.yaml: there is no such file", None),
    ],
)
def test_overrides_that_lead_nowhere(argument, message, hint):
    with pytest.raises(ManifestError) as caught:
        overridden(TREE, argument)
    assert caught.value.message == message
    assert caught.value.hint is None if hint is None else hint in caught.value.hint
