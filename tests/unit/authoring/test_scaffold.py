"""What ``plugins new`` writes is complete, clean, typed, and keeps the contract as it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.version import Version

from modrwkv_core.authoring.scaffold import Plan, _bounds, plan_distribution, write_distribution
from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import MAX_NAME
from modrwkv_core.registry import discover

ROOT = Path(__file__).resolve().parents[3]
Bench = Callable[..., tuple[Plan, Path]]

WRITTEN = ("ecg_patches", "looker", "hearer", "squeeze", "bridge")

FOREIGN = """
import sys
from dataclasses import dataclass

import numpy as np
from modrwkv_core.interfaces.modality import Modality


@dataclass(frozen=True)
class Cloud:
    seconds: float
    points: np.ndarray


class CloudModality(Modality[Cloud]):
    def decode(self, media):
        return media

    def examples(self):
        return [Cloud(1.0, np.ones((length, 3), np.float32)) for length in (40, 5)]


class SilentModality(CloudModality):
    def examples(self):
        return []


class LazyModality(Modality[object]):
    def decode(self, media):
        return media

    def examples(self):
        return [Cloud(1.0, np.ones((40, 3), np.float32))]
"""


def ruff(*arguments: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "ruff", *arguments, str(folder)], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_a_distribution_is_complete(bench: Bench) -> None:
    plan, project = bench("ecg-patches", "encoder", "ecg")
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "pyproject.toml",
        "src/modrwkv_ecg_patches/__init__.py",
        "src/modrwkv_ecg_patches/config.py",
        "src/modrwkv_ecg_patches/encoder.py",
        "src/modrwkv_ecg_patches/modality.py",
        "src/modrwkv_ecg_patches/plugin.py",
        "src/modrwkv_ecg_patches/processor.py",
        "src/modrwkv_ecg_patches/py.typed",
        "tests/test_ecg_modality.py",
        "tests/test_ecg_patches_encoder.py",
    }
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert declared["name"] == plan.distribution == "modrwkv-ecg-patches"
    assert declared["entry-points"]["modrwkv"] == {"ecg_patches": "modrwkv_ecg_patches.plugin"}
    assert declared["dependencies"] == ["modrwkv>=0.1,<0.2", "numpy>=1.26", "torch>=2.6"]


@pytest.mark.parametrize(("kind", "modality"), [("encoder", "series"), ("compressor", None), ("adapter", None)])
def test_an_installed_modality_is_not_written_again(bench: Bench, kind: str, modality: str | None) -> None:
    _, project = bench("part", kind, modality)
    assert not list(project.rglob("*modality*"))
    assert "ModalitySpec" not in (project / "src/modrwkv_part/plugin.py").read_text()


@pytest.mark.parametrize("name", ["x", "a" * MAX_NAME])
@pytest.mark.parametrize(
    ("kind", "modality"), [("encoder", "m" * MAX_NAME), ("encoder", "audio"), ("compressor", None)]
)
def test_short_and_long_names_give_clean_code(bench: Bench, name: str, kind: str, modality: str | None) -> None:
    _, project = bench(name, kind, modality)
    assert ruff("check", "--no-cache", folder=project) == ""
    assert ruff("format", "--check", "--no-cache", folder=project) == ""


def test_an_encoder_of_a_stranger_s_modality_imports_the_stranger_s_signal(site: Any, tmp_path: Path) -> None:
    (site.folder / "aerial.py").write_text(FOREIGN)
    site.install(
        "a-lidar",
        """
        from modrwkv_core.plugin import ModalitySpec, hookimpl

        @hookimpl
        def modrwkv_modalities():
            return [
                ModalitySpec(api=1, name="cloud", summary="points", implementation="aerial:CloudModality"),
                ModalitySpec(api=1, name="silent", summary="points", implementation="aerial:SilentModality"),
                ModalitySpec(api=1, name="lazy", summary="points", implementation="aerial:LazyModality"),
            ]
        """,
    )
    plan = plan_distribution("cloud_reader", "encoder", "cloud", discover())
    assert (plan.new_modality, plan.signal and plan.signal.field) == (False, "points")
    write_distribution(plan, tmp_path / "made")
    processor = (tmp_path / "made/src/modrwkv_cloud_reader/processor.py").read_text()
    assert "import torch\nfrom aerial import Cloud\nfrom modrwkv_core.errors import DataError" in processor
    assert "np.asarray(signal.points" in processor
    assert '"a-lidar",' in (tmp_path / "made/pyproject.toml").read_text()
    assert "default=5, ge=1" in (tmp_path / "made/src/modrwkv_cloud_reader/config.py").read_text()
    for modality in ("silent", "lazy"):
        with pytest.raises(PluginError, match=f"signals of the modality '{modality}' are not") as raised:
            plan_distribution("reader", "encoder", modality, discover())
        assert raised.value.distribution == "a-lidar"


@pytest.mark.parametrize(
    ("name", "kind", "modality", "message"),
    [
        ("Loud", "adapter", None, "'Loud' is not a valid name"),
        ("7th", "adapter", None, "'7th' is not a valid name"),
        ("a" * (MAX_NAME + 1), "adapter", None, "is not a valid name"),
        ("fine", "encoder", "../up", "'../up' is not a valid name"),
        ("fine", "encoder", None, "encoders read a modality"),
        ("fine", "adapter", "image", "nothing else does"),
        ("mlp", "adapter", None, "'mlp' is already provided by modrwkv-mlp"),
        ("core", "adapter", None, "a package modrwkv_core already"),
    ],
)
def test_what_cannot_be_written_is_refused(name: str, kind: Any, modality: str | None, message: str) -> None:
    with pytest.raises(PluginError, match=message) as raised:
        plan_distribution(name, kind, modality, discover())
    assert raised.value.hint


def test_nothing_is_overwritten(bench: Bench, tmp_path: Path) -> None:
    plan, project = bench("part", "adapter", None)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(PluginError, match="holds something already"):
        write_distribution(plan, project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    (tmp_path / "file").touch()
    with pytest.raises(PluginError, match="file holds something already"):
        write_distribution(plan, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert write_distribution(plan, tmp_path / "empty")


@pytest.mark.parametrize(
    ("core", "bounds"), [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("2.4.1", ">=2.4,<3")]
)
def test_a_distribution_is_for_the_cores_that_keep_their_promises(core: str, bounds: str) -> None:
    assert _bounds(Version(core)) == bounds


def test_distributions_pass_their_own_tests(workshop: Any) -> None:
    # `plugins check` runs the encoder's tests of ecg_patches, in another test.
    modality = workshop.project("ecg_patches") / "tests/test_ecg_modality.py"
    tests = [str(path) for path in (modality, *(workshop.project(name) / "tests" for name in WRITTEN[1:]))]
    done = workshop.python(
        "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests
    )
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout


def test_distributions_are_strictly_typed(workshop: Any) -> None:
    folders = [str(workshop.project(name) / part) for name in WRITTEN for part in ("src", "tests")]
    # Kept between sessions: without a cache mypy reads all of torch.
    cache = ROOT / ".mypy_cache" / "scaffold"
    done = workshop.python("-m", "mypy", "--strict", "--cache-dir", str(cache), *folders)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_writes_checks_and_explains(workshop: Any) -> None:
    written = workshop.modrwkv("plugins", "new", "tail", "--kind", "encoder", "--modality", "seismic", "--path", "tail")
    assert written.returncode == 0, written.stderr
    lines = written.stdout.splitlines()
    assert "tail/src/modrwkv_tail/modality.py" in lines
    assert lines[-2:] == ["next: pip install --editable tail", "      modrwkv plugins check tail"]
    again = workshop.modrwkv("plugins", "new", "tail", "--kind", "adapter", "--path", "tail")
    assert (again.returncode, again.stdout) == (2, "")
    assert "tail holds something already" in again.stderr
    checked = workshop.modrwkv("plugins", "check", "tail")
    assert checked.returncode == 2
    assert "modrwkv-tail, whose sources are in tail, is not installed" in checked.stderr


def test_the_processor_describes_stretches(workshop: Any) -> None:
    script = """
from modrwkv_ecg_patches.config import EcgPatchesConfig as Config
from modrwkv_ecg_patches.modality import EcgModality
from modrwkv_ecg_patches.processor import EcgPatchesProcessor as Processor
item = Processor(Config(stride=2))(EcgModality().decode([[1.0, 3.0], [5.0, 7.0], [0.0, 0.0], [0.0, 8.0], [9.0, 9.0]]))
print(item.length, *item.tensors["stretches"].flatten().tolist())
"""
    done = workshop.python("-c", script)
    assert done.returncode == 0, done.stderr
    length, *described = map(float, done.stdout.split())
    assert length == 5
    first = [4.0, np.sqrt(5.0), 1.0, 7.0]
    second = [2.0, np.sqrt(12.0), 0.0, 8.0]
    np.testing.assert_allclose(described, [*first, *second], rtol=1e-6)
