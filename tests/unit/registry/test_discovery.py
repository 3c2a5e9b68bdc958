"""Every entry point ends in a state of its own, and a broken one never breaks another."""

from __future__ import annotations

from typing import Any

import pytest

from modrwkv_core.errors import PluginError
from modrwkv_core.registry import Plugin, Registry, discover

BROKEN_SOURCES = {
    "raises at import": ("import no_such_module_anywhere", "failed", "no_such_module_anywhere"),
    "has a syntax error": ("def (:", "failed", "SyntaxError"),
    "exits at import": ("raise SystemExit(3)", "failed", "SystemExit"),
    "hook raises": (
        """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_components():
            raise RuntimeError("the dog ate it")
        """,
        "failed",
        "the dog ate it",
    ),
    "hook returns a number": (
        """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_components():
            return 42
        """,
        "failed",
        "modrwkv_components() returned 42",
    ),
    "hook returns other things among records": (
        """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_modalities():
            return ["image"]
        """,
        "failed",
        "'image' among its records, not a ModalitySpec",
    ),
    "hook forgets to return": (
        """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_commands():
            []
        """,
        "failed",
        "modrwkv_commands() returned None",
    ),
    "no function is marked": ("def modrwkv_components(): return []", "failed", "@hookimpl"),
    "unknown hook": (
        """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_componets():
            return []
        """,
        "incompatible",
        "modrwkv_componets",
    ),
    "hook with unknown argument": (
        """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_run_started(run, color):
            pass
        """,
        "incompatible",
        "color",
    ),
}


def plugin_of(registry: Registry, distribution: str) -> Plugin:
    (plugin,) = [plugin for plugin in registry.plugins if plugin.distribution == distribution]
    return plugin


def test_a_plugin_registers_through_all_four_hooks(site: Any) -> None:
    site.install(
        "fake-all",
        """
        from modrwkv_core.plugin import CommandSpec, ComponentSpec, ModalitySpec, PresetSpec, hookimpl

        @hookimpl
        def modrwkv_components():
            yield ComponentSpec(api=1, kind="adapter", name="bridge", summary="s", config="m:C", implementation="m:I")

        @hookimpl
        def modrwkv_modalities():
            return [ModalitySpec(api=1, name="smell", summary="odours", implementation="m:Smell", suffixes=(".nose",))]

        @hookimpl
        def modrwkv_presets():
            return [PresetSpec(api=1, name="tiny", summary="small", resource="m:presets/tiny.yaml")]

        @hookimpl
        def modrwkv_commands():
            return [CommandSpec(api=1, name="sniff", summary="smell something", command="m:sniff")]
        """,
        version="2.3",
        entry_points={"nose": "fake_all_plugin"},
    )
    registry = discover()
    plugin = plugin_of(registry, "fake-all")
    assert (plugin.name, plugin.version, plugin.state, plugin.error) == ("fake-all:nose", "2.3", "ok", None)
    assert [spec.name for spec in plugin.components] == ["bridge"]
    assert "bridge" in registry.names("adapter")
    assert registry.modality("smell").spec.suffixes == (".nose",)
    assert registry.modality("smell").distribution == "fake-all"
    assert registry.preset("tiny").spec.resource == "m:presets/tiny.yaml"
    assert "sniff" in [command.spec.name for command in registry.commands()]


@pytest.mark.parametrize("case", BROKEN_SOURCES)
def test_a_broken_plugin_is_a_state_and_leaves_others_alone(site: Any, case: str) -> None:
    source, state, words = BROKEN_SOURCES[case]
    site.install("fake-broken", source)
    site.install_component("fake-after", "adapter", "after")
    site.install_component("a-fake-before", "adapter", "before")
    registry = discover()
    broken = plugin_of(registry, "fake-broken")
    assert broken.state == state
    assert broken.error is not None
    assert words in broken.error
    assert "\n" not in broken.reason
    assert broken.advice
    assert {"before", "after"} <= set(registry.names("adapter"))
    assert "rwkv7" in registry.names("backbone")


def test_a_failed_plugin_keeps_its_exception_and_traceback(site: Any) -> None:
    site.install("fake-broken", BROKEN_SOURCES["hook raises"][0])
    plugin = plugin_of(discover(), "fake-broken")
    assert isinstance(plugin.cause, RuntimeError)
    assert plugin.reason == "RuntimeError: the dog ate it"
    assert "fake_broken_plugin.py" in str(plugin.error)
    assert "the dog ate it" in str(plugin.error)
    assert "discovery.py" not in str(plugin.error)


def test_another_plugin_api_is_incompatible_for_that_plugin_only(site: Any) -> None:
    site.install_component("fake-future", "adapter", "future", api=2)
    site.install_component("fake-present", "adapter", "present")
    registry = discover()
    plugin = plugin_of(registry, "fake-future")
    assert plugin.state == "incompatible"
    assert "plug-in API 2; this modrwkv has API 1" in plugin.reason
    assert "future" not in registry.names("adapter")
    assert "present" in registry.names("adapter")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "adaptor"}, "kind is 'adaptor'"),
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"config": "module.Class"}, "config is 'module.Class'"),
        ({"implementation": None}, "implementation is None"),
        ({"processor": "m:P"}, "only encoders have one"),
        ({"modality": "image"}, "only encoders and augmentations have one"),
        ({"kind": "augmentation", "modality": "no name"}, "modality is 'no name'"),
        ({"kind": "encoder"}, "processor is None"),
        ({"kind": "encoder", "processor": "m:P"}, "modality is None"),
        ({"aliases": "old"}, "aliases are 'old'"),
        ({"aliases": ("part", "part")}, "twice"),
    ],
)
def test_an_invalid_record_fails_its_plugin(site: Any, fields: dict[str, Any], words: str) -> None:
    record = {"kind": "adapter", "name": "part", "summary": "s", "config": "m:C", "implementation": "m:I"} | fields
    site.install(
        "fake-invalid",
        f"""
        from modrwkv_core.plugin import ComponentSpec, hookimpl

        @hookimpl
        def modrwkv_components():
            return [ComponentSpec(api=1, **{record!r})]
        """,
    )
    plugin = plugin_of(discover(), "fake-invalid")
    assert plugin.state == "failed"
    assert words in plugin.reason


@pytest.mark.parametrize("installed", ["fake-off", "Fake.Off", "fake_off:main"])
def test_a_disabled_plugin_is_not_even_imported(site: Any, installed: str) -> None:
    site.install("fake-off", "raise AssertionError('imported')")
    site.install_component("fake-on", "adapter", "on")
    registry = discover(disable=[installed])
    assert plugin_of(registry, "fake-off").state == "disabled"
    assert plugin_of(registry, "fake-off").reason == "disabled by plugins.disable"
    assert "on" in registry.names("adapter")


def test_an_allow_list_disables_the_rest_but_never_the_core(site: Any) -> None:
    site.install_component("fake-one", "adapter", "one")
    site.install_component("fake-two", "adapter", "two")
    registry = discover(allow=["fake-one"])
    assert registry.names("adapter") == ("one",)
    assert plugin_of(registry, "fake-two").reason == "not listed in plugins.allow"
    assert "rwkv7" in registry.names("backbone")


def test_the_environment_restricts_further(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        site.install_component(f"fake-{name}", "adapter", name)
    monkeypatch.setenv("MODRWKV_PLUGINS", "fake-one, fake-two")
    monkeypatch.setenv("MODRWKV_DISABLE_PLUGINS", "fake-one:main")
    assert discover(allow=["fake-one", "fake-two", "fake-three"]).names("adapter") == ("two",)


@pytest.mark.parametrize("setting", ["MODRWKV_PLUGINS", "MODRWKV_DISABLE_PLUGINS"])
def test_unknown_names_in_the_environment_warn(site: Any, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    site.install_component("fake-one", "adapter", "one")
    monkeypatch.setenv(setting, "fake-one,fake-oops")
    with pytest.warns(UserWarning, match=f"{setting} names 'fake-oops', which is not an installed plugin"):
        discover()


@pytest.mark.parametrize(
    "arguments", [{"allow": ["fake-oops"]}, {"disable": ["fake-oops"]}, {"prefer": {"adapter/one": "fake-oops"}}]
)
def test_unknown_names_in_the_manifest_warn(site: Any, arguments: dict[str, Any]) -> None:
    site.install_component("fake-one", "adapter", "one")
    with pytest.warns(UserWarning, match="names 'fake-oops', which is not an installed plugin"):
        discover(**arguments)


def test_a_preference_for_an_unknown_component_warns(site: Any) -> None:
    site.install_component("fake-one", "adapter", "one")
    with pytest.warns(UserWarning, match="names 'adapter/oops', which no installed plugin provides"):
        discover(prefer={"adapter/oops": "fake-one"})


def test_strict_makes_a_broken_plugin_fatal(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("fake-broken", "import no_such_module_anywhere")
    monkeypatch.setenv("MODRWKV_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="fake-broken:main is failed") as raised:
        discover()
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)
    monkeypatch.setenv("MODRWKV_STRICT_PLUGINS", "0")
    assert plugin_of(discover(), "fake-broken").state == "failed"


def test_trace_writes_hook_calls(site: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    site.install_component("fake-one", "adapter", "one")
    monkeypatch.setenv("MODRWKV_TRACE_PLUGINS", "1")
    discover()
    written = capsys.readouterr().err
    assert "fake-one:main: modrwkv_components() -> [[ComponentSpec(api=1, kind='adapter', name='one'" in written


def test_two_entry_points_of_one_distribution_are_two_plugins(site: Any) -> None:
    site.install_component("fake-pair", "adapter", "left")
    right = (site.folder / "fake_pair_plugin.py").read_text().replace("left", "right")
    (site.folder / "fake_right.py").write_text(right)
    info = site.folder / "fake_pair-1.0.dist-info" / "entry_points.txt"
    info.write_text("[modrwkv]\nright = fake_right\nleft = fake_pair_plugin\n")
    registry = discover(disable=["fake-pair:left"])
    mine = [plugin for plugin in registry.plugins if plugin.distribution == "fake-pair"]
    assert [(plugin.name, plugin.state) for plugin in mine] == [
        ("fake-pair:left", "disabled"),
        ("fake-pair:right", "ok"),
    ]
    assert "right" in registry.names("adapter")


def test_stale_duplicate_metadata_are_shadowed_by_what_python_finds_first(sites: Any) -> None:
    stale, current = sites("stale"), sites("current")
    stale.install("fake-twice", "raise AssertionError('imported')")
    current.install_component("fake-twice", "adapter", "twice")
    registry = discover()
    first, second = [plugin for plugin in registry.plugins if plugin.distribution == "fake-twice"]
    assert (first.state, first.location) == ("ok", str(current.folder))
    assert (second.state, second.location) == ("shadowed", str(stale.folder))
    assert str(current.folder) in second.reason
    assert str(stale.folder) in second.reason
    assert registry.component("adapter", "twice").distribution == "fake-twice"


def leave_egg_info(site: Any, version: str = "1.0", module: str = "fake_edited_plugin") -> None:
    """Leave what setuptools leaves beside the sources of ``fake-edited``."""
    info = site.folder / "fake_edited.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: fake-edited\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[modrwkv]\nmain = {module}\n")


@pytest.mark.parametrize("first", ["installation", "sources"])
def test_the_egg_info_of_an_editable_installation_is_no_duplicate(sites: Any, first: str) -> None:
    names = ["sources", "installation"] if first == "installation" else ["installation", "sources"]
    folders = {name: sites(name) for name in names}
    folders["installation"].install_component("fake-edited", "adapter", "edited")
    leave_egg_info(folders["sources"])
    [plugin] = [plugin for plugin in discover().plugins if plugin.distribution == "fake-edited"]
    assert (plugin.state, plugin.location) == ("ok", str(folders["installation"].folder))


@pytest.mark.parametrize("stale", [{"version": "0.9"}, {"module": "fake_former_plugin"}])
def test_an_egg_info_that_says_something_else_is_a_duplicate(sites: Any, stale: dict[str, str]) -> None:
    sources, installation = sites("sources"), sites("installation")
    installation.install_component("fake-edited", "adapter", "edited")
    leave_egg_info(sources, **stale)
    states = {plugin.location: plugin.state for plugin in discover().plugins if plugin.distribution == "fake-edited"}
    assert states == {str(installation.folder): "ok", str(sources.folder): "shadowed"}


@pytest.mark.parametrize("other", ["0.9", "0.10", "1.0rc1", "1.0.post1", "10.0"])
def test_of_duplicates_in_one_folder_the_newest_counts(site: Any, other: str) -> None:
    site.install_component("fake-twice", "adapter", "twice")
    site.install("fake-twice", version=other)
    states = {plugin.version: plugin.state for plugin in discover().plugins if plugin.distribution == "fake-twice"}
    newest = other if other in ("1.0.post1", "10.0") else "1.0"
    assert states == {"1.0": "shadowed", other: "shadowed"} | {newest: "ok"}


def test_a_folder_listed_twice_is_no_duplicate(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install_component("fake-one", "adapter", "one")
    monkeypatch.syspath_prepend(f"{site.folder}/../{site.folder.name}")
    assert plugin_of(discover(), "fake-one").state == "ok"


def test_two_distributions_with_one_module_are_not_loaded_twice(site: Any) -> None:
    site.install_component("fake-a", "adapter", "one")
    site.install("fake-b", entry_points={"main": "fake_a_plugin"})
    registry = discover()
    assert plugin_of(registry, "fake-a").state == "ok"
    assert plugin_of(registry, "fake-b").state == "shadowed"
    assert "fake-a:main" in plugin_of(registry, "fake-b").reason


@pytest.mark.parametrize("damage", ["entry points", "metadata"])
def test_damaged_metadata_are_one_failed_plugin(site: Any, damage: str) -> None:
    site.install_component("fake-damaged", "adapter", "damaged")
    info = site.folder / "fake_damaged-1.0.dist-info"
    if damage == "entry points":
        (info / "entry_points.txt").write_text("[modrwkv]\nno value\n")
    else:
        (info / "METADATA").unlink()
    site.install_component("fake-whole", "adapter", "whole")
    registry = discover()
    failed = [plugin for plugin in registry.plugins if plugin.location == str(site.folder) and plugin.broken]
    assert [plugin.state for plugin in failed] == ["failed"]
    assert str(site.folder) in str(failed[0].error)
    assert "whole" in registry.names("adapter")


def test_plugins_come_in_the_order_of_their_names(site: Any) -> None:
    for name in ("fake-z", "Fake-B", "fake-a"):
        site.install_component(name, "adapter", name)
    names = [plugin.name for plugin in discover().plugins]
    assert names == sorted(names, key=lambda name: name.lower().split(":"))
    assert [name for name in names if name.lower().startswith("fake")] == ["fake-a:main", "Fake-B:main", "fake-z:main"]


def test_lifecycle_hooks_reach_usable_plugins_only(site: Any) -> None:
    for name, state in (("fake-logger", "usable"), ("fake-unwanted", "disabled")):
        site.install(
            name,
            f"""
            from modrwkv_core.plugin import hookimpl

            @hookimpl
            def modrwkv_checkpoint_saved(checkpoint, step):
                checkpoint.append(({state!r}, step))
            """,
        )
    registry = discover(disable=["fake-unwanted"])
    heard: list[tuple[str, int]] = []
    registry.hook.modrwkv_checkpoint_saved(run=None, checkpoint=heard, step=7)
    assert heard == [("usable", 7)]


def test_the_digest_tells_processes_with_other_plugins_apart(site: Any) -> None:
    bare = discover().digest()
    site.install_component("fake-one", "adapter", "one")
    with_one = discover().digest()
    assert with_one == discover().digest()
    assert with_one != bare
    assert discover(disable=["fake-one"]).digest() == bare
    site.folder.joinpath("fake_one-1.0.dist-info", "METADATA").write_text("Name: fake-one\nVersion: 1.1\n")
    assert discover().digest() not in (bare, with_one)


ODD_ENDS = {
    "an exception of its own": ("class Odd(BaseException): pass\nraise Odd('own')", "Odd: own"),
    "an interruption": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "the end of the process": ("import os; os._exit(0)", "os._exit(0)"),
}


@pytest.mark.parametrize(("source", "words"), ODD_ENDS.values(), ids=ODD_ENDS)
def test_no_plugin_ends_the_process(site: Any, source: str, words: str) -> None:
    site.install("fake-odd", source)
    site.install_component("fake-fine", "adapter", "fine")
    registry = discover()
    plugin = plugin_of(registry, "fake-odd")
    assert plugin.state == "failed"
    assert words in plugin.reason
    assert "fine" in registry.names("adapter")


def test_modules_are_loaded_and_asked_once_in_a_process(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.install(
        "fake-counted",
        """
        import sys
        from modrwkv_core.plugin import hookimpl

        sys.stdout.write("imported ")

        @hookimpl
        def modrwkv_components():
            sys.stdout.write("asked ")
            return []
        """,
    )
    site.install("fake-loud", "import sys; sys.stdout.write('failed '); raise OSError")
    for settings in ({}, {"prefer": {}}, {"disable": ["fake-counted"]}, {}):
        discover(**settings)
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "imported asked failed ")
