"""Who may import whom: the contracts of the core and the kernels, and the public surface for plugins."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml"))
PUBLIC = ("modrwkv_core.plugin", "modrwkv_core.interfaces", "modrwkv_core.errors", "modrwkv_kernels")


def imported_modules(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield file and module of every absolute import below ``folder``, wherever it stands."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((str(path), alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module == "modrwkv_core":
                yield from ((str(path), f"modrwkv_core.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
                yield str(path), node.module


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_the_contracts_of_core_and_kernels_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


def test_core_and_kernels_import_no_plugin() -> None:
    ours = ("modrwkv_core", "modrwkv_kernels")
    for folder in (ROOT / "modrwkv_core", ROOT / "kernels" / "src"):
        for path, module in imported_modules(folder):
            assert not module.startswith("modrwkv_") or is_within(module, ours), f"{path} imports {module}"


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugins_import_the_public_surface_only(plugin: Path) -> None:
    (package,) = [folder.name for folder in (plugin / "src").iterdir() if (folder / "__init__.py").exists()]
    # One that registers no component drives whole models, as programs do: it may import what programs import.
    is_plugin = "entry-points.modrwkv]" in (plugin / "pyproject.toml").read_text(encoding="utf-8")
    for path, module in imported_modules(plugin / "src"):
        if module.startswith("modrwkv_"):
            allowed = PUBLIC if is_plugin else ("modrwkv_core",)
            assert is_within(module, (*allowed, package)), f"{path} imports {module}"
    for path, module in imported_modules(plugin / "tests"):
        if module.startswith("modrwkv_"):
            assert is_within(module, ("modrwkv_core", "modrwkv_kernels", package)), f"{path} imports another plugin"
