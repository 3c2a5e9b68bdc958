"""What the page on installation names exists: extras, targets, distributions and commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "install.md"
CORE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_table_lists_the_extras() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(CORE["optional-dependencies"])


def test_what_is_installed_and_made_exists(blocks_of: Callable[[Path], list[Any]]) -> None:
    commands = [
        shlex.split(line) for block in blocks_of(PAGE) if block.language == "sh" for line in block.content.splitlines()
    ]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    ours = [word for words in commands for word in words if word.startswith("modrwkv") and "install" in words]
    assert ours
    for requirement in map(Requirement, ours):
        assert requirement.extras <= set(CORE["optional-dependencies"])
        assert requirement.name in ("modrwkv", "modrwkv-kernels")
    made = [words[1] for words in commands if words[0] == "make"]
    assert made
    assert set(made) <= set(targets)


def test_the_python_example_says_what_was_chosen(blocks_of: Callable[[Path], list[Any]], capsys: Any) -> None:
    [example] = [block.content for block in blocks_of(PAGE) if block.language == "python"]
    exec(example, {})
    assert "cpu" in capsys.readouterr().out
