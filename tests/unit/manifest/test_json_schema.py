from __future__ import annotations

from dataclasses import replace

import jsonschema
import pytest

from modrwkv_core.manifest.document import parse
from modrwkv_core.manifest.json_schema import manifest_schema
from modrwkv_core.registry import Registry, discover
from modrwkv_core.registry.lifecycle import LifecycleHooks


@pytest.fixture
def validator(toys):
    schema = manifest_schema(toys)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("type: eye", "type: toys/eye"),
        ("type: screw", "type: bolt"),
        ("name: toy", "name: toy\nextends: [base.yaml]"),
        ("    adapter: {type: screw}", "    adapter: {type: screw, turns: 2}"),
    ],
)
def test_valid_manifests_fit(validator, text, before, after):
    validator.validate(parse(text.replace(before, after, 1), "text").plain())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("modrwkv: 1", "modrwkv: 2"),
        ("name: toy", "nmae: toy"),
        ("hidden_size: 8", "hidden_sise: 8"),
        ("hidden_size: 8", "hidden_size: 0"),
        ("type: eye, ", ""),
        ("type: eye", "type: eya"),
        ("{type: ear}", "{type: ear, hidden_size: 8}"),
        ("source: files, path: talks.jsonl", "source: files"),
        ("lr: 1e-3", "lr: fast"),
        ("{type: exam}", "{type: lm}"),
    ],
)
def test_mistakes_do_not_fit(validator, text, before, after):
    assert before in text
    assert not validator.is_valid(parse(text.replace(before, after), "text").plain())


def test_every_setting_is_described(toys):
    schema = manifest_schema(toys)
    sections = [schema, *(schema["$defs"][name] for name in ("ModalityConfig", "DataSection", "Phase", "Plugins"))]
    assert all(section["description"] for section in sections)
    described = [f"#/$defs/{name}" for name, definition in schema["$defs"].items() if "description" in definition]
    undescribed = [
        f"{section['title']}.{name}"
        for section in sections
        for name, setting in section["properties"].items()
        if "description" not in setting and setting.get("$ref") not in described
    ]
    assert undescribed == []


def test_a_kind_without_components_fits_nothing(toys, text):
    [plugin] = toys.plugins
    plugin = replace(plugin, components=tuple(spec for spec in plugin.components if spec.kind != "compressor"))
    schema = manifest_schema(Registry([plugin], LifecycleHooks(None), prefer={}))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not validator.is_valid(parse(text, "text").plain())
    assert validator.is_valid(parse(text.replace("compressor: {type: pool, size: 2}", ""), "text").plain())


def test_a_component_that_cannot_be_imported_is_left_out_with_a_warning(toys):
    [plugin] = toys.plugins
    broken = [replace(spec, config="nowhere:Config") if spec.name == "ear" else spec for spec in plugin.components]
    with pytest.warns(UserWarning, match=r"left out of the schema: .*nowhere.*encoder/ear"):
        schema = manifest_schema(Registry([replace(plugin, components=tuple(broken))], LifecycleHooks(None), prefer={}))
    assert schema["$defs"]["encoder"] == {"anyOf": [{"$ref": "#/$defs/EyeConfig"}]}


def test_the_installed_plugins_make_a_valid_schema():
    schema = manifest_schema(discover())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"$ref": "#/$defs/RWKV7Config"} in schema["$defs"]["backbone"]["anyOf"]
