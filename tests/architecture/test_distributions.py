"""All distributions of the repository have one version and complete metadata, and the extras reach all plugins."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from modrwkv_core.registry import discover

ROOT = Path(__file__).parents[2]
PROJECTS = sorted([ROOT / "pyproject.toml", ROOT / "kernels/pyproject.toml", *ROOT.glob("plugins/*/*/pyproject.toml")])
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def project_of(path: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return project


CORE = project_of(ROOT / "pyproject.toml")
NAMES = {project_of(path)["name"] for path in PROJECTS}
PLUGINS = NAMES - {"modrwkv", "modrwkv-kernels"}


def reached(extra: str) -> set[str]:
    """Names of the distributions that ``modrwkv[extra]`` installs beyond ``modrwkv``."""
    found: set[str] = set()
    for line in CORE["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == "modrwkv":
            found = found.union(*map(reached, requirement.extras))
        else:
            found.add(requirement.name)
    return found


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_the_metadata_are_complete(path: Path) -> None:
    project = project_of(path)
    assert {key: project.get(key) for key in ("version", "authors", "license", "license-files", "requires-python")} == {
        "version": CORE["version"],
        "authors": [{"name": "ModRWKV contributors"}],
        "license": "Apache-2.0",
        "license-files": ["LICENSE"],
        "requires-python": f">={PYTHONS[0]}",
    }
    assert "urls" not in project, "addresses are left to whoever publishes"
    assert project["description"]
    assert (path.parent / project["readme"]).is_file()
    assert (path.parent / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert {"rwkv", "modrwkv"} & set(project["keywords"])
    expected = {"Typing :: Typed", *(f"Programming Language :: Python :: {version}" for version in PYTHONS)}
    assert expected <= set(project["classifiers"])
    assert list(path.parent.glob("modrwkv_core/py.typed" if path.parent == ROOT else "src/*/py.typed"))


@pytest.mark.parametrize("path", PROJECTS, ids=lambda path: path.parent.name)
def test_requirements_on_each_other_admit_the_versions_that_keep_compatible(path: Path) -> None:
    project = project_of(path)
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    version = Version(project["version"])
    bounds = f"<{version.major}.{version.minor + 1},>={version.major}.{version.minor}"
    for requirement in (Requirement(line) for group in groups for line in group):
        if requirement.name in NAMES and not requirement.extras:
            assert str(requirement.specifier) == bounds


def test_the_extra_all_reaches_every_plugin_but_loggers() -> None:
    loggers = {project_of(path)["name"] for path in ROOT.glob("plugins/loggers/*/pyproject.toml")}
    assert reached("all") == PLUGINS - loggers
    assert reached("loggers") == loggers


@pytest.mark.parametrize("extra", ["image", "audio", "series", "video", "features"])
def test_the_extra_of_a_modality_brings_its_encoders_and_all_connectors(extra: str) -> None:
    expected = {
        plugin.distribution
        for plugin in discover().plugins
        for spec in plugin.components
        if spec.modality == extra or spec.kind in ("adapter", "compressor")
    }
    assert expected & PLUGINS <= reached(extra)


def test_workspace_members_are_taken_from_the_workspace() -> None:
    sources = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["sources"]
    assert sources == {name: {"workspace": True} for name in NAMES}


def test_the_workflow_tests_the_pythons_that_the_metadata_name() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert tuple(workflow["jobs"]["test"]["strategy"]["matrix"]["python"]) == PYTHONS


def test_the_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == CORE["version"]
    assert f"\n## {CORE['version']}" in (ROOT / "CHANGELOG.md").read_text()
