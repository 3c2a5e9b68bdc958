"""Throw-away distributions for tests of discovery and of the program."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FAKE_PARTS = """
from modrwkv_core.interfaces.component import Adapter, Encoder, Processor
from modrwkv_core.interfaces.config import AdapterConfig, EncoderConfig

class Config(EncoderConfig, AdapterConfig): pass
class Part(Encoder, Adapter): pass
"""

SETTINGS = ("MODRWKV_PLUGINS", "MODRWKV_DISABLE_PLUGINS", "MODRWKV_STRICT_PLUGINS", "MODRWKV_TRACE_PLUGINS")


class Site:
    """A folder on ``sys.path`` into which tests install distributions as pip would leave them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        distribution: str,
        source: str | None = None,
        *,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        entry_points: dict[str, str] | None = None,
    ) -> None:
        """Install ``distribution`` with a light module of this source, which ``entry_points`` may name otherwise."""
        module = distribution.replace("-", "_") + "_plugin"
        if source is not None:
            (self.folder / f"{module}.py").write_text(textwrap.dedent(source))
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        required = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{required}")
        points = {"main": module} if entry_points is None else entry_points
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[modrwkv]\n{lines}")
        (info / "RECORD").write_text("")
        importlib.invalidate_caches()

    def install_component(self, distribution: str, kind: str, name: str, **fields: object) -> None:
        """Install ``distribution`` with one component, implemented by the classes of the module ``fake_parts``."""
        record = {"config": "fake_parts:Config", "implementation": "fake_parts:Part"}
        if kind == "encoder":
            record |= {"processor": "fake_parts:Processor", "modality": "image"}
        record |= {"api": 1, "kind": kind, "name": name, "summary": "for tests", **fields}
        source = f"""
            from modrwkv_core.plugin import ComponentSpec, hookimpl

            @hookimpl
            def modrwkv_components():
                return [ComponentSpec(**{record!r})]
        """
        self.install(distribution, source)


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Site]]:
    """Make folders for distributions; the one made last comes first. Imports from them are forgotten afterwards."""
    for setting in SETTINGS:
        monkeypatch.delenv(setting, raising=False)
    before = set(sys.modules)

    def make(name: str) -> Site:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "fake_parts.py").write_text(FAKE_PARTS)
        monkeypatch.syspath_prepend(folder)
        return Site(folder)

    yield make
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def site(sites: Callable[[str], Site]) -> Site:
    """One folder for distributions."""
    return sites("site")
