"""What ``plugins new`` writes is complete, clean, typed, and keeps the contract as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from packaging.version import Version

from modrwkv_core.authoring.kinds import SCAFFOLDS
from modrwkv_core.authoring.scaffold import Plan, _bounds, plan_distribution, write_distribution
from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import MAX_NAME
from modrwkv_core.registry import discover

ROOT = Path(__file__).resolve().parents[3]
Bench = Callable[..., tuple[Plan, Path]]

TOGETHER = """
modrwkv: 1
name: sums
extends: starter
tokenizer: {type: letters}
backbone: {type: recall, hidden_size: 16}
data: {train: [{source: questions, path: sums.jsonl}], batch_size: 4}
phases:
  - {name: pretrain, train: [backbone], lr: 1.0e-2, steps: 3, optimizer: {type: momentum}, scheduler: {type: ramp}}
  - {name: finetune, train: [backbone], lr: 1.0e-2, steps: 2, finetuning: {type: biases}}
evaluation:
  sums:
    task: {type: quiz, metrics: [{type: overlap}], max_tokens: 4}
    data: {source: questions, path: sums.jsonl}
"""
REST = {
    "modrwkv": 1,
    "name": "readme",
    "tokenizer": {"type": "bytes"},
    "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
    "data": {"train": [{"source": "chat", "path": "talks.jsonl"}]},
    "phases": [{"name": "pretrain", "train": ["backbone"], "lr": 1.0e-3, "steps": 2}],
}

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


@pytest.mark.parametrize(
    ("kind", "modality"), [("encoder", "series"), ("augmentation", "series"), ("compressor", None), ("adapter", None)]
)
def test_an_installed_modality_is_not_written_again(bench: Bench, kind: str, modality: str | None) -> None:
    _, project = bench("part", kind, modality)
    assert not list(project.rglob("*modality*"))
    assert "ModalitySpec" not in (project / "src/modrwkv_part/plugin.py").read_text()


def test_short_and_long_names_give_clean_code(tmp_path: Path) -> None:
    registry = discover()
    for name in ("x", "a" * MAX_NAME):
        for kind in SCAFFOLDS:
            modalities = {"encoder": ("m" * MAX_NAME, "audio"), "augmentation": ("audio",)}
            for modality in modalities.get(kind, (None,)):
                plan = plan_distribution(name, kind, modality, registry)
                write_distribution(plan, tmp_path / f"{kind}-{modality}-{name}")
    assert ruff("check", "--no-cache", folder=tmp_path) == ""
    assert ruff("format", "--check", "--no-cache", folder=tmp_path) == ""


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
        ("fine", "encoder", None, "name a modality"),
        ("fine", "augmentation", None, "name a modality"),
        ("fine", "augmentation", "radar", "modality 'radar'"),
        ("fine", "adapter", "image", "nothing else does"),
        ("mlp", "adapter", None, "'mlp' is already provided by modrwkv-mlp"),
        ("core", "adapter", None, "a package modrwkv_core already"),
        ("train", "command", None, "'train' is already provided by modrwkv"),
        ("audio", "modality", None, "'audio' is already provided by modrwkv"),
        ("chat", "source", None, "'chat' is already provided by modrwkv"),
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


@pytest.mark.slow
def test_distributions_pass_their_own_tests(workshop: Any) -> None:
    # `plugins check` runs the encoder's tests of ecg_patches, in another test.
    others = (workshop.project(name) / "tests" for name in workshop.whole() if name != "ecg_patches")
    tests = map(str, (workshop.project("ecg_patches") / "tests/test_ecg_modality.py", *others))
    done = workshop.python(
        "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests
    )
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout


@pytest.mark.slow
def test_distributions_are_strictly_typed(workshop: Any) -> None:
    folders = [str(workshop.project(name) / part) for name in workshop.whole() for part in ("src", "tests")]
    # Kept between sessions: without a cache mypy reads all of torch.
    cache = ROOT / ".mypy_cache" / "scaffold"
    done = workshop.python("-m", "mypy", "--strict", "--cache-dir", str(cache), *folders)
    assert done.returncode == 0, done.stdout + done.stderr


def test_distributions_work_together(workshop: Any, tmp_path: Path) -> None:
    rows = [
        {"question": f"{first} + {second}?", "answer": str(first + second)} for first in (1, 2) for second in (3, 4)
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "manifest.yaml").write_text(TOGETHER)
    arguments = (["train", str(tmp_path / "manifest.yaml"), "--run", str(tmp_path / "run"), "--quiet"],)
    arguments += (
        ["evaluate", str(tmp_path / "run"), "--quiet"],
        ["latest", str(tmp_path / "run"), "--metric", "phase"],
    )
    script = f"""
from modrwkv_core.cli.main import run_program
for arguments in {arguments!r}:
    assert run_program(arguments) == 0
"""
    done = workshop.python("-c", script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "phase finetune"
    [row] = [line for line in done.stdout.splitlines() if line.startswith("sums ")]
    assert "overlap" in row
    assert "commonest answer 0.5" in row
    events = (tmp_path / "run/journal.log").read_text().splitlines()
    assert events[0] == "started"
    assert events[-2] == "complete"
    assert events[-1].startswith("step 5: evaluated, sums/overlap ")
    resolved = yaml.safe_load((tmp_path / "run/manifest.yaml").read_text())
    assert resolved["tokenizer"]["type"] == "letters"
    assert resolved["tokenizer"]["characters"].startswith("abc")


def test_readmes_show_valid_manifests(workshop: Any, tmp_path: Path) -> None:
    names = [name for name in workshop.whole() if name not in ("journal", "latest", "tide")]
    for name in names:
        [shown] = re.findall(r"```yaml\n(.*?)```", (workshop.project(name) / "README.md").read_text(), re.DOTALL)
        assert name in shown
        sections = yaml.safe_load(shown)
        for modality in sections.get("modalities", {}).values():
            modality.setdefault(
                "encoder", {"type": "siglip2", "init": "scratch"}
            )  # which an augmentation's page leaves out
            modality.setdefault("adapter", {"type": "mlp"})
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({**REST, **sections}))
    script = f"""
from pathlib import Path
from modrwkv_core.manifest.load import load_manifest
for path in sorted(Path({str(tmp_path)!r}).iterdir()):
    load_manifest(path)
"""
    done = workshop.python("-c", script)
    assert done.returncode == 0, done.stderr


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
