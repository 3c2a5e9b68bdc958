"""Environments of their own, into which our distributions are installed from wheels; reports without curves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]


class Environment:
    """A virtual environment with the heavy libraries of this one, and none of our distributions.

    Args:
        folder: Where to make it.
        wheels: The folder with wheels of our distributions.
    """

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.wheels = wheels
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        libraries = folder / "libraries"
        libraries.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            name = entry.name.lower()
            if not name.startswith(("modrwkv", "_editable_impl", "__editable__")) and not name.endswith(".pth"):
                (libraries / entry.name).symlink_to(entry)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text(f"{libraries}\n")
        self.site = site

    def run(self, command: list[str | Path], code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command that must end with ``code``."""
        kept = ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{command} ends with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def modrwkv(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the installed program."""
        return self.run([self.python.with_name("modrwkv"), *arguments], code)

    def pip(self, *arguments: str | Path) -> None:
        """Run uv's pip on this environment, without a network."""
        self.run([sys.executable, "-m", "uv", "pip", *arguments, "--quiet", "--offline", "--python", self.python])

    def install(self, *requirements: str) -> None:
        """Install ours as users do, with dependencies, from wheels; what is not ours must be there already."""
        command = [self.python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", self.wheels]
        self.run([*command, *requirements])

    def install_project(self, project: Path) -> None:
        """Build a wheel of ``project`` and install it."""
        out = self.folder / "wheels" / project.name
        self.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, project])
        self.pip("install", "--no-deps", "--no-index", *out.glob("*.whl"))

    def scaffold(self, name: str, *options: str) -> Path:
        """Write a new distribution with the installed program and return its folder."""
        project = self.folder / "strangers" / f"modrwkv-{name}"
        self.modrwkv("plugins", "new", name, *options, "--path", str(project))
        return project

    @contextmanager
    def stranger(self, project: Path) -> Iterator[None]:
        """Have a distribution installed for a while."""
        self.install_project(project)
        yield
        self.pip("uninstall", project.name)

    def states(self) -> dict[str, str]:
        """Return the state of each installed plugin's distribution."""
        listed = json.loads(self.modrwkv("plugins", "list", "--json").stdout)
        return {plugin["distribution"]: plugin["state"] for plugin in listed}

    def losses(self, run: str, *overrides: str) -> list[float]:
        """Train the manifest and return the loss of each step."""
        self.modrwkv("train", "manifest.yaml", *overrides, "--run", run, "--quiet", "--device", "cpu")
        lines = (self.work / run / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheels of all distributions, once for all workers of a session."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    built = folder / "wheels"
    with FileLock(folder / "wheels.lock"):
        if not built.exists():
            scratch = folder / "wheels.unfinished"
            options = ["--all-packages", "--wheel", "--no-build-isolation", "--offline", "--quiet"]
            command = [sys.executable, "-m", "uv", "build", *options, "--python", sys.executable, "--out-dir", scratch]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            scratch.rename(built)
    return built


@pytest.fixture
def environment(tmp_path: Path, wheels: Path) -> Environment:
    """A virtual environment of the test's own, into which none of our distributions is installed yet."""
    return Environment(tmp_path, wheels)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the curves, which take most of a report's time."""
    for name in ("draw_losses", "draw_metrics"):
        monkeypatch.setattr(f"modrwkv_core.evaluation.report.{name}", lambda metrics: None)
