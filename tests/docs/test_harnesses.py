"""What the page on harnesses names exists: extras, arguments, and the folder of tasks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "harnesses.md").read_text(encoding="utf-8")
DISTRIBUTION = ROOT / "plugins" / "evaluation" / "harness"
README = (DISTRIBUTION / "README.md").read_text(encoding="utf-8")


def extras(path: Path) -> set[str]:
    return set(tomllib.loads(path.read_text(encoding="utf-8"))["project"]["optional-dependencies"])


def test_what_is_installed_exists() -> None:
    named = [Requirement(word) for word in re.findall(r'"(modrwkv[^"]*\])"', PAGE + README)]
    known = {
        "modrwkv": extras(ROOT / "pyproject.toml"),
        "modrwkv-eval": extras(DISTRIBUTION / "pyproject.toml"),
    }
    assert len(named) >= 4
    assert all(one.extras <= known[one.name] for one in named)


def test_the_table_lists_the_arguments_of_the_models() -> None:
    arguments: set[str] = set()
    for module in ("language_model", "multimodal_model"):
        source = (DISTRIBUTION / "src" / "modrwkv_eval" / f"{module}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                arguments |= {argument.arg for argument in node.args.args}
    assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == arguments - {"self", "device", "batch_size"}


def test_the_folder_of_tasks_is_printed() -> None:
    [command] = re.findall(r'python -c "(.*)"', PAGE)
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert (Path(done.stdout.strip()) / "aishell1" / "aishell1.yaml").is_file()
