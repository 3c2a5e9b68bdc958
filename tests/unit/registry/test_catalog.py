"""From a name to the one plugin that provides it, or to the reason why none does."""

from __future__ import annotations

import importlib
import sys
import tomllib
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

import modrwkv_core.registry.installed
from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import KINDS
from modrwkv_core.registry import discover
from modrwkv_core.registry.catalog import BASES


def uninstall(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let discovery overlook some distributions that may be installed beside the tests."""

    def without(path: list[str]) -> list[Distribution]:
        return [found for found in distributions(path=path) if found.metadata["Name"] not in names]

    monkeypatch.setattr(modrwkv_core.registry.installed, "distributions", without)


def test_components_are_entries_with_their_origin(site: Any) -> None:
    site.install_component("fake-one", "adapter", "one")
    registry = discover(allow=["fake-one"])
    entry = registry.component("adapter", "one")
    assert (entry.spec.name, entry.distribution, entry.version) == ("one", "fake-one", "1.0")
    assert registry.component("adapter", "fake-one/one") == entry
    assert registry.component("adapter", "Fake.One/one") == entry
    assert registry.components("adapter") == (entry,)
    assert entry in registry.components()
    assert [entry.spec.kind for entry in registry.components()] == sorted(
        (entry.spec.kind for entry in registry.components()), key=KINDS.index
    )


def test_classes_are_imported_on_request_only(site: Any) -> None:
    site.install_component("fake-eye", "encoder", "eye")
    registry = discover()
    assert "fake_parts" not in sys.modules
    assert registry.config_class("encoder", "eye").__name__ == "Config"
    assert registry.implementation("encoder", "eye").__name__ == "Part"
    assert registry.processor("eye").__name__ == "Processor"
    assert registry.config_class("encoder", "eye").__module__ == "fake_parts"


def test_a_modality_class_is_imported_on_request(site: Any) -> None:
    assert discover().modality_class("image").__name__ == "ImageModality"
    assert {"image", "audio", "series"} <= {modality.spec.name for modality in discover().modalities()}


@pytest.mark.parametrize(
    ("config", "words", "hint"),
    [
        ("fake_heavy:Config", "ImportError: libfake.so is gone", "must be fixed"),
        ("fake_needy:Config", "No module named 'no_such_library'", "which fake-one does not declare"),
        ("fake_absent:Config", "No module named 'fake_absent'", "must be fixed"),
        ("fake_parts:Absent", "has no Absent", "does not fit its code"),
        ("fake_parts:__name__", "not a class", "must be fixed"),
    ],
)
def test_failures_at_import_name_component_distribution_and_cause(
    site: Any, config: str, words: str, hint: str
) -> None:
    (site.folder / "fake_heavy.py").write_text("raise ImportError('libfake.so is gone')")
    (site.folder / "fake_needy.py").write_text("import no_such_library")
    site.install_component("fake-one", "adapter", "one", config=config)
    registry = discover()
    with pytest.raises(PluginError) as raised:
        registry.config_class("adapter", "one")
    assert words in raised.value.message
    assert raised.value.component == "adapter/one"
    assert raised.value.distribution == "fake-one"
    assert hint in str(raised.value.hint)
    if "Absent" not in config and "__name__" not in config:
        assert isinstance(raised.value.__cause__, ImportError)


def test_a_name_claimed_twice_is_an_error_on_use_only(site: Any) -> None:
    site.install_component("fake-a", "adapter", "contested")
    site.install_component("fake-b", "adapter", "contested")
    site.install_component("fake-b-more", "adapter", "peaceful")
    registry = discover()
    assert "contested" not in registry.names("adapter")
    assert registry.component("adapter", "peaceful").distribution == "fake-b-more"
    with pytest.raises(PluginError, match="claimed by fake-a:main and fake-b:main") as raised:
        registry.config_class("adapter", "contested")
    assert "plugins.prefer" in str(raised.value.hint)
    assert "`fake-a/contested`" in str(raised.value.hint)
    assert [conflict.message for conflict in registry.conflicts()] == [raised.value.message]


def test_a_qualified_name_or_a_preference_settles_a_clash(site: Any) -> None:
    site.install_component("fake-a", "adapter", "contested")
    site.install_component("fake-b", "adapter", "contested")
    for distribution in ("fake-a", "fake-b"):
        assert discover().component("adapter", f"{distribution}/contested").distribution == distribution
        registry = discover(prefer={"adapter/contested": distribution})
        assert registry.component("adapter", "contested").distribution == distribution
        assert "contested" in registry.names("adapter")
        assert registry.conflicts() == ()


def test_the_same_name_of_another_kind_is_no_clash(site: Any) -> None:
    site.install_component("fake-a", "adapter", "shared")
    site.install_component("fake-b", "compressor", "shared")
    registry = discover()
    assert registry.component("adapter", "shared").distribution == "fake-a"
    assert registry.component("compressor", "shared").distribution == "fake-b"


def test_a_clash_within_one_distribution_cannot_be_settled_by_its_name(site: Any) -> None:
    site.install_component("fake-a", "adapter", "contested")
    (site.folder / "fake_copy.py").write_text((site.folder / "fake_a_plugin.py").read_text())
    points = site.folder / "fake_a-1.0.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "copy = fake_copy\n")
    with pytest.raises(PluginError, match="claimed by fake-a:copy and fake-a:main") as raised:
        discover().component("adapter", "fake-a/contested")
    assert "MODRWKV_DISABLE_PLUGINS" in str(raised.value.hint)


def test_a_broken_claimant_leaves_the_name_to_the_other(site: Any) -> None:
    site.install_component("fake-a", "adapter", "one")
    site.install_component("fake-b", "adapter", "one", api=99)
    assert discover().component("adapter", "one").distribution == "fake-a"


def test_asking_for_a_broken_plugins_component_raises_the_original_cause(site: Any) -> None:
    site.install(
        "fake-half",
        """
        from modrwkv_core.plugin import ComponentSpec, hookimpl

        @hookimpl
        def modrwkv_components():
            return [ComponentSpec(api=1, kind="adapter", name="half", summary="s", config="m:C", implementation="m:I")]

        @hookimpl
        def modrwkv_modalities():
            raise ZeroDivisionError("no senses")
        """,
    )
    with pytest.raises(PluginError, match="plugin fake-half:main is failed: ZeroDivisionError: no senses") as raised:
        discover().component("adapter", "half")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert raised.value.distribution == "fake-half"


@pytest.mark.parametrize(("distribution", "entry_point"), [("modrwkv-sonar", "main"), ("acme-things", "sonar")])
def test_a_plugin_that_failed_at_import_is_known_by_its_name(site: Any, distribution: str, entry_point: str) -> None:
    module = distribution.replace("-", "_") + "_plugin"
    site.install(distribution, "import no_such_library", entry_points={entry_point: module})
    with pytest.raises(PluginError, match=f"{distribution}:{entry_point} is failed: ModuleNotFoundError") as raised:
        discover().component("encoder", "sonar")
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_first_party_plugin_that_failed_at_import_is_known_by_the_table(
    sites: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"encoder": {"radar": "fake-rf"}}
    monkeypatch.setattr("modrwkv_core.registry.hints.known", lambda kind: table.get(kind, {}))
    sites("site").install("fake-rf", "raise OSError('antenna')")
    with pytest.raises(PluginError, match="fake-rf:main is failed: OSError: antenna") as raised:
        discover().component("encoder", "radar")
    assert isinstance(raised.value.__cause__, OSError)


def test_an_unknown_name_mentions_the_plugins_that_may_have_it(site: Any) -> None:
    site.install("fake-wreck", "raise OSError('sunk')")
    with pytest.raises(PluginError, match="unknown encoder 'sonar'") as raised:
        discover().component("encoder", "sonar")
    assert "fake-wreck:main" in str(raised.value.hint)
    assert isinstance(raised.value.__cause__, ExceptionGroup)
    assert "sunk" in map(str, raised.value.__cause__.exceptions)


def test_a_disabled_plugins_component_says_so(site: Any) -> None:
    site.install("modrwkv-sonar", "raise AssertionError('imported')")
    with pytest.raises(PluginError, match=r"is disabled: disabled by plugins\.disable"):
        discover(disable=["modrwkv-sonar"]).component("encoder", "sonar")


def test_a_typo_gets_a_suggestion(site: Any) -> None:
    site.install_component("fake-one", "adapter", "telescope")
    with pytest.raises(PluginError, match="unknown adapter 'telescpoe'") as raised:
        discover().component("adapter", "telescpoe")
    assert raised.value.hint == "did you mean telescope?"


def test_a_name_of_another_kind_is_pointed_out(site: Any) -> None:
    site.install_component("fake-one", "adapter", "telescope")
    with pytest.raises(PluginError) as raised:
        discover().component("head", "telescope")
    assert raised.value.hint == "another kind has that name: adapter"


def test_a_known_component_says_which_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, "modrwkv-whisper")
    with pytest.raises(PluginError, match="provided by modrwkv-whisper, which is not installed") as raised:
        discover().component("encoder", "whisper")
    assert raised.value.hint == "pip install modrwkv-whisper"
    with pytest.raises(PluginError) as raised:
        discover().component("encoder", "whispre")
    assert raised.value.hint == "did you mean whisper (pip install modrwkv-whisper)?"


def test_a_qualified_name_of_an_absent_or_wrong_distribution(site: Any) -> None:
    site.install_component("fake-one", "adapter", "one")
    with pytest.raises(PluginError, match="wanted from fake-two, which is not installed"):
        discover().component("adapter", "fake-two/one")
    with pytest.raises(PluginError, match=r"adapter 'two' is not in fake-one 1\.0, which is installed"):
        discover().component("adapter", "fake-one/two")


def test_a_former_name_warns_and_works(site: Any) -> None:
    site.install_component("fake-one", "adapter", "bridge", aliases=("causeway",))
    registry = discover()
    with pytest.warns(FutureWarning, match="adapter 'causeway' is now called 'bridge'"):
        entry = registry.component("adapter", "causeway")
    assert entry.spec.name == "bridge"
    assert "causeway" not in registry.names("adapter")


def test_a_current_name_goes_before_a_former_one(site: Any) -> None:
    site.install_component("fake-one", "adapter", "bridge", aliases=("causeway",))
    site.install_component("fake-two", "adapter", "causeway")
    assert discover().component("adapter", "causeway").distribution == "fake-two"


def test_the_core_without_entry_points_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall(monkeypatch, "modrwkv")
    with pytest.raises(PluginError, match="no entry points") as raised:
        discover()
    assert "pip install" in str(raised.value.hint)


def test_known_plugins_are_spelt_as_discovery_finds_them() -> None:
    path = Path(modrwkv_core.registry.installed.__file__).with_name("known_plugins.toml")
    table = tomllib.loads(path.read_text())
    assert set(table) <= {*KINDS, "modality"}
    for entry in discover().components():
        if entry.distribution.startswith("modrwkv-"):
            assert table.get(entry.spec.kind, {}).get(entry.spec.name) == entry.distribution


def test_every_kind_has_its_bases() -> None:
    assert list(BASES) == list(KINDS)
    for reference in (base for bases in BASES.values() for base in bases):
        module, _, name = reference.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), type)


@pytest.mark.parametrize(("field", "words"), [("config", "EncoderConfig"), ("implementation", "of Encoder")])
def test_a_class_of_another_base_is_refused(site: Any, field: str, words: str) -> None:
    site.install_component("fake-eye", "encoder", "eye", **{field: "collections:OrderedDict"})
    with pytest.raises(PluginError, match="no subclass") as raised:
        {"config": discover().config_class, "implementation": discover().implementation}[field]("encoder", "eye")
    assert words in raised.value.message
    assert raised.value.distribution == "fake-eye"


def test_the_cores_names_are_reserved(site: Any) -> None:
    site.install_component("fake-thief", "backbone", "rwkv7")
    registry = discover()
    assert registry.component("backbone", "rwkv7").distribution == "modrwkv"
    assert registry.component("backbone", "fake-thief/rwkv7").distribution == "fake-thief"
    [complaint] = registry.conflicts()
    assert complaint.message.startswith("backbone 'rwkv7' of fake-thief:main is not used: the name is reserved")


def test_a_run_takes_its_parts_from_whom_its_lock_says(site: Any) -> None:
    for distribution in ("fake-a", "fake-b"):
        site.install_component(distribution, "adapter", "contested")
    locked = {"adapter/contested": ("fake-b", "1.0"), "modality/imu": ("fake-imu", "0.1.0")}
    registry = discover(locked=locked)
    assert registry.component("adapter", "contested").distribution == "fake-b"
    preferred = discover(locked=locked, prefer={"adapter/contested": "fake-a"})
    assert preferred.component("adapter", "contested").distribution == "fake-a"
    with pytest.raises(PluginError, match=r"needs fake-imu 0\.1\.0") as raised:
        registry.modality("imu")
    assert raised.value.hint == "pip install fake-imu==0.1.0"
