"""Listing what is installed is fast and loads nothing heavy, whatever is installed.

Times are those that the process had the processor, which is what a user waits for on a machine that does nothing else;
the wall clock would measure the other load of the machine that runs the tests.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

HEAVY = ("torch", "torchaudio", "torchvision", "transformers", "timm", "triton", "numpy", "pydantic", "scipy", "PIL")
LIST = [sys.executable, "-c", "from modrwkv_core.cli.main import main; main()", "plugins", "list"]

LOADED_BY_LIST = """
import sys
from modrwkv_core.cli.main import main
sys.argv = ["modrwkv", "plugins", "list", "--json"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
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

LOADED_BY_ENTRY_POINT = """
import importlib, json, sys, time
import modrwkv_core.plugin
before = set(sys.modules)
begun = time.process_time()
importlib.import_module(sys.argv[1])
seconds = time.process_time() - begun
print(json.dumps({"seconds": seconds, "loaded": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment whose modules are compiled once, as they are after the first start on a user's machine."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))
    subprocess.run(LIST, env=environment, check=True, capture_output=True)
    return environment


def test_plugins_list_takes_at_most_300_ms(compiled: dict[str, str]) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(LIST, env=compiled, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # The processor itself is slower while other tenants of the machine are busy.
    assert any(seconds() <= 0.3 for _ in range(10))


def test_plugins_list_loads_nothing_heavy() -> None:
    finished = subprocess.run([sys.executable, "-c", LOADED_BY_LIST], capture_output=True, text=True, check=True)
    assert json.loads(finished.stdout)
    loaded = {module.partition(".")[0] for module in finished.stderr.split()}
    assert "modrwkv_core" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_help_of_every_command_loads_no_torch() -> None:
    finished = subprocess.run([sys.executable, "-c", LOADED_BY_HELP], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("module", sorted({point.value for point in entry_points(group="modrwkv")}))
def test_entry_modules_are_light(module: str, compiled: dict[str, str]) -> None:
    own = module.partition(".")[0]
    seconds = []
    for _ in range(3):
        command = [sys.executable, "-c", LOADED_BY_ENTRY_POINT, module]
        finished = json.loads(subprocess.run(command, env=compiled, check=True, capture_output=True, text=True).stdout)
        packages = {name.partition(".")[0] for name in finished["loaded"]}
        assert packages <= {own, "modrwkv_core", "pluggy", *sys.stdlib_module_names}
        if own != "modrwkv_core":
            assert not [name for name in finished["loaded"] if name.startswith("modrwkv_core.")]
        seconds.append(finished["seconds"])
    assert min(seconds) <= 0.05
