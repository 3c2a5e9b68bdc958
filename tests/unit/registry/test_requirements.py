"""What a plugin declares as required is compared with what is installed before it is trusted."""

from __future__ import annotations

from importlib.metadata import distribution
from typing import Any

import pytest

from modrwkv_core.errors import PluginError
from modrwkv_core.registry import discover
from modrwkv_core.registry.installed import Requirements


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ((), ""),
        (("fake-lib",), ""),
        (("fake_lib>=1.5,<3",), ""),
        (("fake-lib>=1.0; python_version < '3.0'",), ""),
        (("absent; python_version < '3.0'", "absent>=1; extra == 'gpu'"), ""),
        (("absent>=1.0",), "needs absent>=1.0, which is not installed"),
        (("absent>=1.0; python_version > '3.0'",), "needs absent>=1.0, which is not installed"),
        (("fake-lib>=3",), "needs fake-lib>=3, but 2.0rc1 is installed"),
        (("absent", "fake-lib<1"), "needs absent, which is not installed; needs fake-lib<1, but 2.0rc1 is installed"),
        (("fake-lib[plain]",), ""),
        (("fake-lib[fancy]",), "needs absent>=2, which is not installed"),
    ],
)
def test_requirements_with_markers_versions_and_extras(site: Any, requires: tuple[str, ...], words: str) -> None:
    site.install("fake-lib", version="2.0rc1", requires=("absent>=2; extra == 'fancy'", "also-absent"), entry_points={})
    site.install("fake-plugin", requires=requires, entry_points={})
    assert Requirements().unmet(distribution("fake-plugin")) == words


def test_a_plugin_without_its_requirements_says_so_on_use(site: Any) -> None:
    site.install_component("fake-needy", "adapter", "needy")
    metadata = site.folder / "fake_needy-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: absent>=1.0\n")
    site.install_component("fake-modest", "adapter", "modest")
    registry = discover()
    (plugin,) = [plugin for plugin in registry.plugins if plugin.distribution == "fake-needy"]
    assert plugin.state == "missing-dependency"
    assert plugin.error == "needs absent>=1.0, which is not installed"
    assert "modest" in registry.names("adapter")
    assert "needy" not in registry.names("adapter")
    with pytest.raises(PluginError, match=r"needs absent>=1\.0, which is not installed") as raised:
        registry.component("adapter", "needy")
    assert raised.value.distribution == "fake-needy"
    assert "pip install fake-needy" in str(raised.value.hint)


def test_what_is_missing_explains_a_failing_import_better_than_its_traceback(site: Any) -> None:
    site.install("fake-needy", "import absent_module", requires=("absent",))
    (plugin,) = [plugin for plugin in discover().plugins if plugin.distribution == "fake-needy"]
    assert plugin.state == "missing-dependency"
    assert plugin.reason == "needs absent, which is not installed"


def test_an_unreadable_requirement_fails_its_plugin_only(site: Any) -> None:
    site.install("fake-garbled", "", requires=("=!= garbled",))
    site.install_component("fake-fine", "adapter", "fine")
    registry = discover()
    (plugin,) = [plugin for plugin in registry.plugins if plugin.distribution == "fake-garbled"]
    assert plugin.state == "failed"
    assert "=!= garbled" in str(plugin.error)
    assert "fine" in registry.names("adapter")
