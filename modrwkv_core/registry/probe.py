"""Imports an entry module in a process of its own: what it costs, what it drags in, what it does to the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BUDGET", "HEAVY", "Imported", "complaints", "foreign_modules", "import_in_subprocess"]

HEAVY: Final = frozenset({"timm", "torch", "torchaudio", "torchvision", "transformers", "triton"})
"""Packages that take seconds to import."""

BUDGET: Final = 0.05
"""Seconds that importing an entry module may take: every command waits for those of all installed plugins."""

_LIMIT: Final = 60
"""Seconds after which an import is given up."""

_TRIES: Final = 5
"""A busy machine may be slow several times in a row; the fastest import counts."""

_SCRIPT: Final = """
import importlib, json, pathlib, sys, time, traceback
import modrwkv_core.plugin
before, error = set(sys.modules), ""
start = time.perf_counter()
try:
    importlib.import_module(sys.argv[1])
except BaseException:
    error = traceback.format_exc()
report = {"seconds": time.perf_counter() - start, "modules": sorted(set(sys.modules) - before), "error": error}
pathlib.Path(sys.argv[2]).write_text(json.dumps(report))
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        seconds: How long it took.
        modules: Names of the modules that it loaded, beside what the host has imported already.
        output: What it wrote to standard output.
        error: The traceback of what it raised; empty if it raised nothing.
        end: How it ended the process before the import was over; empty if it did not.
    """

    seconds: float
    modules: frozenset[str]
    output: str
    error: str
    end: str

    @property
    def packages(self) -> frozenset[str]:
        """First parts of the names."""
        return frozenset(name.partition(".")[0] for name in self.modules)


def import_in_subprocess(module: str) -> Imported:
    """Import ``module`` in a fresh interpreter that has this one's search path and holds ``modrwkv_core.plugin``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-c", _SCRIPT, module, str(report)]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, errors="replace", timeout=_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return Imported(_LIMIT, frozenset(), "", "", f"is not over after {_LIMIT} s")
        if not report.exists():
            end = f"ends the process with exit code {done.returncode}"
            return Imported(0.0, frozenset(), done.stdout, done.stderr, end)
        found = json.loads(report.read_text())
    return Imported(found["seconds"], frozenset(found["modules"]), done.stdout, found["error"], "")


def foreign_modules(imported: Imported, module: str) -> list[str]:
    """Return what a light module must not import: all but the standard library, pluggy and its own package.

    Modules of the core are listed by their full names, those of others by their packages.
    """
    own = module.partition(".")[0]
    allowed = sys.stdlib_module_names | {"pluggy", "modrwkv_core", own}
    packages = {name for name in imported.packages - allowed if not name.startswith("__")}
    core = {name for name in imported.modules if name.startswith("modrwkv_core.") and own != "modrwkv_core"}
    return sorted(packages | core)


def complaints(module: str) -> Iterator[str]:
    """Import the entry module ``module`` and yield, in words, what a light module must not do.

    What it raises is not among them: that is the plugin's state.
    """
    imported = import_in_subprocess(module)
    if imported.end:
        yield f"importing {module} {imported.end}"
        return
    if imported.output:
        first, _, _ = imported.output.strip().partition("\n")
        yield f"importing {module} prints {first[:60]!r}: standard output belongs to the command that runs"
    foreign = foreign_modules(imported, module)
    if foreign:
        yield f"importing {module} imports {', '.join(foreign[:8])}: name everything heavy in strings"
    seconds = imported.seconds
    for _ in range(_TRIES - 1):
        if seconds <= BUDGET:
            return
        seconds = min(seconds, import_in_subprocess(module).seconds)
    if seconds > BUDGET:
        yield f"importing {module} takes {seconds * 1000:.0f} ms; the budget is {BUDGET * 1000:.0f} ms"
