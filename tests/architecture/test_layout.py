"""No folder of the repository is importable by accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_folders_that_are_no_packages_have_no_init() -> None:
    folders = [ROOT, *(ROOT / name for name in ("kernels", "plugins", "tests", "examples", "docs"))]
    for pattern in ("plugins/*", "plugins/*/*", "plugins/*/*/src", "plugins/*/*/tests", "kernels/*", "tests/**/"):
        folders += [folder for folder in ROOT.glob(pattern) if folder.is_dir()]
    assert len(folders) > 10
    assert [str(folder) for folder in folders if (folder / "__init__.py").exists()] == []


def test_every_plugin_is_a_distribution_with_one_typed_package_a_readme_and_tests() -> None:
    for project in ROOT.glob("plugins/*/*/pyproject.toml"):
        plugin = project.parent
        (package,) = [folder for folder in (plugin / "src").iterdir() if folder.is_dir()]
        assert (package / "py.typed").exists(), plugin
        assert (plugin / "README.md").exists(), plugin
        assert list((plugin / "tests").glob("test_*.py")), plugin


@pytest.mark.parametrize("name", ["kernels", "plugins", "tests", "examples"])
def test_folders_of_the_repository_cannot_be_imported(name: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", f"import {name}; print({name}.__path__)"], cwd=tmp_path, capture_output=True, text=True
    )
    assert str(ROOT) not in finished.stdout
