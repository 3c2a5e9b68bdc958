"""Scaffolded distributions, installed from their sources as an editable installation leaves them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from modrwkv_core.authoring.scaffold import Plan, plan_distribution, write_distribution
from modrwkv_core.registry import discover

ROOT = Path(__file__).resolve().parents[3]

PARTS = (
    ("ecg_patches", "encoder", "ecg"),
    ("looker", "encoder", "image"),
    ("hearer", "encoder", "audio"),
    ("squeeze", "compressor", None),
    ("bridge", "adapter", None),
    ("recall", "backbone", None),
    ("gauge", "head", None),
    ("scribe", "transcript_head", None),
    ("letters", "tokenizer", None),
    ("questions", "source", None),
    ("quiz", "task", None),
    ("overlap", "metric", None),
    ("momentum", "optimizer", None),
    ("ramp", "scheduler", None),
    ("biases", "finetuning", None),
    ("blot", "augmentation", "image"),
    ("tide", "modality", None),
    ("journal", "logger", None),
    ("latest", "command", None),
    ("starter", "preset", None),
    ("wreck", "encoder", "image"),
)
DAMAGE = (
    ("plugin.py", "from __future__ import annotations\n", "from __future__ import annotations\n\nimport pydantic\n"),
    ("encoder.py", "self.second = ", "self.spare = nn.Linear(2, 2)\n        self.second = "),
    ("processor.py", "raise DataError(", "raise RuntimeError("),
    ("processor.py", 'component="encoder/wreck",\n', ""),
    ("processor.py", 'hint=f"give at least {self.config.stride} steps of finite numbers",\n', ""),
)
"""What is broken in ``wreck``."""


class Workshop:
    """A folder for distributions, and a site that holds their metadata.

    Args:
        folder: Where to work.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.site.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, kind: str, modality: str | None = None) -> tuple[Plan, Path]:
        """Scaffold a distribution and return its plan and folder."""
        plan = plan_distribution(name, kind, modality, discover())
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

    def whole(self) -> list[str]:
        """Return the names of what is installed and not broken."""
        return [name for name, _, _ in PARTS if name != "wreck"]

    def project(self, name: str) -> Path:
        """Return the folder of an installed distribution."""
        return self.folder / f"modrwkv-{name.replace('_', '-')}"

    def search_path(self) -> list[str]:
        """Return the folders in which everything that was installed is found."""
        return list(map(str, [self.site, *sorted(self.folder.glob("modrwkv-*/src"))]))

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python where everything that was installed is found."""
        path = os.pathsep.join([*self.search_path(), str(ROOT)])
        environment = os.environ | {"PYTHONPATH": path, "MYPYPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def modrwkv(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return self.python("-c", "from modrwkv_core.cli.main import main; main()", *arguments)


def _fill(workshop: Workshop) -> None:
    for name, kind, modality in PARTS:
        workshop.install(*workshop.write(name, kind, modality))
    source = workshop.project("wreck") / "src/modrwkv_wreck"
    for file, old, new in DAMAGE:
        text = (source / file).read_text()
        assert text.count(old) == 1
        (source / file).write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One workshop for all workers of a session, with every distribution of ``PARTS`` installed.

    Tests run what is there and add nothing to the site, for others use it at the same time.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "workshop"
    with FileLock(f"{folder}.lock"):
        if (folder / "filled").exists():
            return Workshop(folder)
        shutil.rmtree(folder, ignore_errors=True)
        filled = Workshop(folder)
        _fill(filled)
        (folder / "filled").touch()
    return filled


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., tuple[Plan, Path]]:
    """Scaffold into a folder of the test's own."""
    return Workshop(tmp_path / "bench").write
