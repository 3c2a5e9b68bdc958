from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from modrwkv_core.interfaces.component import Compressor
from modrwkv_core.interfaces.config import CompressorConfig
from modrwkv_core.interfaces.values import Features
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import CompressorContract
from modrwkv_core.testing.registration import PluginContract

Broken = Callable[[type[Any]], set[str]]


class PluginOf(PluginContract):
    def __init__(self, plugin: str) -> None:
        self.plugin = plugin  # type: ignore[misc]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a module into a package of its own on the search path and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def module(name: str, source: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "plugin.py").write_text(source)
        return f"{name}.plugin"

    return module


def test_a_light_module_passes(write: Callable[[str, str], str]) -> None:
    source = "import dataclasses\nimport pluggy\nfrom modrwkv_core.plugin import hookimpl\n"
    PluginOf(write("light_plugin", source)).test_entry_module_is_light()


@pytest.mark.parametrize(
    ("line", "culprit"),
    [
        ("import torch", "torch"),
        ("import pydantic", "pydantic"),
        ("import numpy", "numpy"),
        ("import modrwkv_core.errors", "modrwkv_core.errors"),
        ("from modrwkv_core.interfaces import config", "modrwkv_core.interfaces"),
    ],
)
def test_a_module_that_imports_more_is_found_out(write: Callable[[str, str], str], line: str, culprit: str) -> None:
    write("torch", "")  # found first on the path, and quicker to import than the real one
    plugin = PluginOf(write("heavy_plugin", line))
    with pytest.raises(AssertionError, match=rf"heavy_plugin\.plugin imports .*\b{re.escape(culprit)}\b"):
        plugin.test_entry_module_is_light()


def test_a_module_that_prints_is_found_out(write: Callable[[str, str], str]) -> None:
    plugin = PluginOf(write("loud_plugin", "print('hello')"))
    with pytest.raises(AssertionError, match="prints 'hello"):
        plugin.test_entry_module_is_light()


def test_a_module_that_cannot_be_imported_shows_why(write: Callable[[str, str], str]) -> None:
    plugin = PluginOf(write("sick_plugin", "import no_such_thing"))
    with pytest.raises(AssertionError, match="No module named 'no_such_thing'"):
        plugin.test_entry_module_is_light()


def test_a_missing_entry_point_is_found_out() -> None:
    PluginOf("modrwkv_core.builtin").test_entry_point_leads_to_the_plugin()
    with pytest.raises(AssertionError, match=r"add `name = \"nowhere.plugin\"` to \[project.entry-points.modrwkv\]"):
        PluginOf("nowhere.plugin").test_entry_point_leads_to_the_plugin()


def test_a_configuration_that_loads_torch_is_found_out(write: Callable[[str, str], str]) -> None:
    write("torch", "")
    module = write("torchy", "import torch\n")

    class Contract(Halving):
        spec = ComponentSpec(
            api=1, kind="compressor", name="halving", summary="", config=f"{module}:C", implementation=""
        )  # type: ignore[assignment]

    with pytest.raises(AssertionError, match=r"torchy\.plugin imports torch"):
        Contract().test_configuration_never_loads_torch()


class HalvingConfig(CompressorConfig):
    type: Literal["halving"] = "halving"

    step: int = 2
    """Features between those that are kept."""

    def out_length(self, length: int) -> int:
        return -(-length // self.step)


class HalvingCompressor(Compressor[HalvingConfig]):
    def forward(self, features: Features) -> Features:
        values = features.values[:, :: self.config.step]
        return Features(values, -(-features.lengths // self.config.step)).with_values(values)


class LaxConfig(HalvingConfig):
    model_config = ConfigDict(extra="ignore", frozen=False)

    type: str = "halving"  # type: ignore[assignment]

    undocumented: int = 1


class ForgetfulConfig(HalvingConfig):
    step: int = 2
    """A step that is lost on the way to the manifest."""

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        return {"type": self.type}


class StrangerConfig(BaseModel):
    type: Literal["other"] = "other"


def spec(config: str, implementation: str = "HalvingCompressor", **changes: Any) -> ComponentSpec:
    record = {
        "kind": "compressor",
        "name": "halving",
        "summary": "keeps every other feature",
        "config": f"{__name__}:{config}",
        "implementation": f"{__name__}:{implementation}",
    }
    return ComponentSpec(**({"api": 1} | record | changes))


class Halving(CompressorContract):
    plugin = __name__
    name = "halving"
    configs = ({}, {"step": 3})
    spec = spec("HalvingConfig")  # type: ignore[assignment]


def test_a_component_without_weights_keeps_the_contract(broken: Broken) -> None:
    assert broken(Halving) == set()


def test_a_lax_configuration_is_found_out(broken: Broken) -> None:
    class Contract(Halving):
        spec = spec("LaxConfig")  # type: ignore[assignment]

    assert broken(Contract) == {
        "configuration_refuses_unknown_keys_and_other_types",
        "configuration_is_frozen",
        "configuration_keys_are_documented",
    }


def test_a_configuration_that_is_lost_in_the_manifest_is_found_out(broken: Broken) -> None:
    class Contract(Halving):
        spec = spec("ForgetfulConfig")  # type: ignore[assignment]

    assert broken(Contract) == {"configuration_survives_manifest_and_pickle"}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (spec("StrangerConfig"), "StrangerConfig is not a CompressorConfig"),
        (spec("HalvingConfig", "HalvingConfig"), "HalvingConfig is not a Compressor"),
        (spec("HalvingConfig", name="thirding"), "is 'halving' by default, not 'thirding'"),
        (spec("HalvingConfig", summary=""), "has no summary"),
        (spec("HalvingConfig", api=99), "is written for API 99"),
    ],
)
def test_a_wrong_record_is_found_out(record: ComponentSpec, message: str) -> None:
    class Contract(Halving):
        name = record.name
        spec = record  # type: ignore[assignment]

    with pytest.raises(AssertionError, match=message):
        Contract().test_record_leads_to_the_classes()


def modrwkv_components() -> list[ComponentSpec]:
    return [spec("HalvingConfig"), spec("HalvingConfig", name="twice"), spec("HalvingConfig", name="twice")]


@pytest.mark.parametrize(("name", "times"), [("absent", 0), ("twice", 2)])
def test_a_name_that_is_not_registered_once_is_found_out(name: str, times: int) -> None:
    class Contract(CompressorContract):
        plugin = __name__

    Contract.name = name
    with pytest.raises(AssertionError, match=f"registers compressor '{name}' {times} times, not once"):
        Contract().spec  # noqa: B018


def test_each_configuration_is_a_case_of_its_own() -> None:
    calls = []

    class Metafunc:
        fixturenames = ("settings",)

        def parametrize(self, argnames: str, argvalues: Any, *, ids: list[str]) -> None:
            calls.append((argnames, argvalues, ids))

    Halving().pytest_generate_tests(Metafunc())  # type: ignore[arg-type]
    assert calls == [("settings", ({}, {"step": 3}), ["defaults", "step=3"])]
