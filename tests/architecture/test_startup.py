"""Listing what is installed loads nothing heavy, whatever is installed; `make bench` measures how long it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = {"click", "modrwkv_core", "packaging", "pluggy", *sys.stdlib_module_names}

LOADED_BY_LIST = """
import sys
before = set(sys.modules)
from modrwkv_core.cli.main import main
sys.argv = ["modrwkv", "plugins", "list", "--json"]
try:
    main()
finally:
    print(*set(sys.modules) - before, file=sys.stderr)
"""

LOADED_BY_HELP = """
import sys
from modrwkv_core.cli.main import program
from modrwkv_core.registry import discover
commands = [command.spec.name for command in discover().commands()]
for command in commands:
    program.main([command, "--help"], standalone_mode=False)
    assert "torch" not in sys.modules, command
"""

LOADED_BY_ENTRY_POINTS = """
import importlib, os, sys
import modrwkv_core.plugin
before = set(sys.modules)
for module in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(module)
        print(module, *set(sys.modules) - before, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, module
"""

CALLED_BY_DISCOVERY = """
import sys
from collections import Counter
calls = Counter()
def count(frame, event, argument):
    if event == "call" and frame.f_code.co_name.startswith("modrwkv_"):
        calls[frame.f_globals["__name__"] + "." + frame.f_code.co_name] += 1
from modrwkv_core.registry import discover
sys.setprofile(count)
discover()
sys.setprofile(None)
print(*calls.elements())
"""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Measured by coverage, a process would load that, too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def installed_entry_modules() -> list[str]:
    return sorted({point.value for point in entry_points(group="modrwkv")})


def test_plugins_list_loads_nothing_heavy() -> None:
    finished = python(LOADED_BY_LIST)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)
    loaded = {module.partition(".")[0] for module in finished.stderr.split()}
    assert "modrwkv_core" in loaded
    plugins = {module.partition(".")[0] for module in installed_entry_modules()}
    assert loaded <= LIGHT | plugins


def test_discovery_calls_each_registration_hook_once() -> None:
    finished = python(CALLED_BY_DISCOVERY)
    assert finished.returncode == 0, finished.stderr
    calls = Counter(finished.stdout.split())
    listeners = {path.name for path in (ROOT / "plugins/loggers").iterdir()}  # which register nothing
    expected = set(installed_entry_modules()) - {f"modrwkv_{name}.plugin" for name in listeners}
    assert {call.rpartition(".")[0] for call in calls} == expected
    assert set(calls.values()) == {1}, calls


def test_help_of_every_command_loads_no_torch() -> None:
    finished = python(LOADED_BY_HELP)
    assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="module")
def loaded_by() -> dict[str, list[str]]:
    """What each entry module loads, each in a fresh process."""
    finished = python(LOADED_BY_ENTRY_POINTS, *installed_entry_modules())
    assert finished.returncode == 0, finished.stderr
    lines = map(str.split, finished.stdout.splitlines())
    return {module: loaded for module, *loaded in lines}


@pytest.mark.parametrize("module", installed_entry_modules())
def test_entry_modules_are_light(loaded_by: dict[str, list[str]], module: str) -> None:
    own = module.partition(".")[0]
    loaded = loaded_by[module]
    packages = {name.partition(".")[0] for name in loaded}
    assert own in packages | {"modrwkv_core"}
    assert packages <= {own, "modrwkv_core", "pluggy", *sys.stdlib_module_names}
    if own != "modrwkv_core":
        assert not [name for name in loaded if name.startswith("modrwkv_core.")]
