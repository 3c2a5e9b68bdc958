"""``modrwkv plugins``: what is installed, in which state, and what to do about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modrwkv_core.cli.plugins import plugins
from modrwkv_core.errors import PluginError


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(plugins, arguments)
    if isinstance(result.exception, PluginError):
        raise result.exception
    return result


@pytest.fixture
def wrecked(site: Any) -> Any:
    """Install one plugin for every state."""
    site.install_component("fake-eye", "encoder", "eye", paper="Huygens 1690", aliases=("oculus",))
    site.install("fake-failed", "raise OSError('sunk')")
    site.install_component("fake-future", "adapter", "future", api=9)
    site.install("fake-needy", "", requires=("absent>=2",))
    site.install("fake-off", "raise AssertionError('imported')")
    site.install("fake-eye", version="0.9")
    return site


STATES = {
    ("fake-eye", "1.0"): "ok",
    ("fake-eye", "0.9"): "shadowed",
    ("fake-failed", "1.0"): "failed",
    ("fake-future", "1.0"): "incompatible",
    ("fake-needy", "1.0"): "missing-dependency",
    ("fake-off", "1.0"): "disabled",
}


def test_list_as_json(wrecked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODRWKV_DISABLE_PLUGINS", "fake-off")
    result = invoke("list", "--json")
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert {
        (plugin["distribution"], plugin["version"]): plugin["state"]
        for plugin in listed
        if plugin["distribution"].startswith("fake")
    } == STATES
    for plugin in listed:
        assert list(plugin) == [
            *("distribution", "version", "state", "error", "components"),
            *("modalities", "presets", "commands"),
        ]
        assert (plugin["error"] is None) == (plugin["state"] == "ok")
    (eye,) = [plugin for plugin in listed if (plugin["distribution"], plugin["state"]) == ("fake-eye", "ok")]
    assert eye["components"] == [{"kind": "encoder", "name": "eye", "modality": "image", "summary": "for tests"}]
    assert "fake-failed:main" in result.stderr
    assert "fake-off:main" not in result.stderr


def test_list_for_people_is_an_aligned_table(wrecked: Any) -> None:
    lines = invoke("list").stdout.splitlines()
    header = lines[0]
    assert header.split() == ["DISTRIBUTION", "VERSION", "STATE", "KIND", "NAME", "MODALITY", "SUMMARY"]
    (eye,) = [line for line in lines if " eye " in line]
    assert [eye[header.index(title) :].split()[0] for title in header.split()][:6] == [
        "fake-eye", "1.0", "ok", "encoder", "eye", "image",
    ]  # fmt: skip
    (failed,) = [line for line in lines if line.startswith("fake-failed")]
    assert failed.endswith("OSError: sunk")


def test_list_of_one_kind(wrecked: Any) -> None:
    listed = json.loads(invoke("list", "--kind", "encoder", "--json").stdout)
    assert "fake-eye" in [plugin["distribution"] for plugin in listed]
    assert {component["kind"] for plugin in listed for component in plugin["components"]} == {"encoder"}
    assert all(plugin["components"] for plugin in listed)
    assert invoke("list", "--kind", "encodr").exit_code == 2


@pytest.mark.parametrize("name", ["eye", "oculus", "encoder/eye", "fake-eye/eye"])
def test_info_of_a_component(wrecked: Any, name: str) -> None:
    written = invoke("info", name).stdout
    assert written.startswith("fake-eye:main 1.0: ok\n  encoder/eye\n")
    for fact in ("Huygens 1690", "oculus", "fake_parts:Config", "fake_parts:Part", "fake_parts:Processor", "image"):
        assert fact in written


@pytest.mark.parametrize("name", ["fake-failed", "Fake_Failed", "fake-failed:main"])
def test_info_of_a_plugin(wrecked: Any, name: str) -> None:
    written = invoke("info", name).stdout
    assert "fake-failed:main 1.0: failed" in written
    assert str(wrecked.folder) in written
    assert "OSError: sunk" in written
    assert "what to do" in written


@pytest.mark.parametrize(
    ("name", "hint"),
    [("fake-eyes", "did you mean fake-eye"), ("xyzzyx", "modrwkv plugins list"), ("encoder/eey", "did you mean eye")],
)
def test_info_of_something_unknown(wrecked: Any, name: str, hint: str) -> None:
    with pytest.raises(PluginError) as raised:
        invoke("info", name)
    assert hint in str(raised.value.hint)


def test_doctor_explains_everything_that_is_wrong(wrecked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODRWKV_DISABLE_PLUGINS", "fake-off")
    wrecked.install_component("fake-rival", "encoder", "eye")
    result = invoke("doctor")
    assert result.exit_code == 1
    for words in (
        "raise OSError('sunk')",
        "plug-in API 9",
        "needs absent>=2, which is not installed",
        "`pip install fake-needy`",
        "encoder 'eye' is claimed by fake-eye:main and fake-rival:main",
        "fake-eye:main 0.9: shadowed",
        "disabled by MODRWKV_DISABLE_PLUGINS",
    ):
        assert words in result.stdout
    assert result.stdout.count("what to do: ") >= 5


def test_doctor_is_content_when_nothing_is_wrong(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install_component("fake-eye", "encoder", "eye")
    monkeypatch.setenv("MODRWKV_PLUGINS", "fake-eye")
    result = invoke("doctor")
    assert (result.exit_code, result.stdout.splitlines()[-1][-11:]) == (0, " 0 problems")


def test_doctor_names_what_the_core_itself_lacks(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODRWKV_PLUGINS", "modrwkv")
    site.install("modrwkv", "", requires=("absent>=2",), entry_points={})
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "modrwkv itself needs absent>=2, which is not installed" in result.stdout
