"""Scaffolded distributions, installed from their sources as an editable installation leaves them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.authoring.scaffold import Plan, plan_distribution, write_distribution
from modrwkv_core.registry import discover

ROOT = Path(__file__).resolve().parents[3]


class Workshop:
    """A folder for distributions, and a site that holds their metadata.

    Args:
        folder: Where to work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.site.mkdir()
        self.sources: list[Path] = []

    def write(self, name: str, kind: str, modality: str | None = None) -> tuple[Plan, Path]:
        """Scaffold a distribution and return its plan and folder."""
        plan = plan_distribution(name, kind, modality, discover())  # type: ignore[arg-type]
        project = self.folder / plan.distribution
        write_distribution(plan, project)
        return plan, project

    def install(self, plan: Plan, project: Path) -> None:
        """Make it importable, and leave the metadata that pip would write."""
        info = self.site / f"{plan.package}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plan.distribution}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[modrwkv]\n{plan.name} = {plan.package}.plugin\n")
        origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
        (info / "direct_url.json").write_text(json.dumps(origin))
        self.sources.append(project / "src")

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python where everything that was installed is found."""
        path = os.pathsep.join(map(str, [self.site, *self.sources, ROOT]))
        environment = os.environ | {"PYTHONPATH": path, "MYPYPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def modrwkv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return self.python("-c", "from modrwkv_core.cli.main import main; main()", *arguments)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One workshop for a module's tests."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., tuple[Plan, Path]]:
    """Scaffold into a folder of the test's own."""
    return Workshop(tmp_path).write
