"""What importing a module costs and drags in, measured in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

__all__ = ["HEAVY", "Imported", "foreign_modules", "import_in_subprocess"]

HEAVY: Final = frozenset({"timm", "torch", "torchaudio", "torchvision", "transformers", "triton"})
"""Packages that take seconds to import."""

_SCRIPT: Final = """
import importlib, json, sys, time
import modrwkv_core.plugin
before = set(sys.modules)
start = time.process_time()
importlib.import_module(sys.argv[1])
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "modules": sorted(set(sys.modules) - before)}))
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        seconds: How long it had the processor, beside what the host has imported already; on a machine that does
            nothing else, that is what a user waits for.
        modules: Names of the modules that it loaded.
    """

    seconds: float
    modules: frozenset[str]

    @property
    def packages(self) -> frozenset[str]:
        """First parts of the names."""
        return frozenset(name.partition(".")[0] for name in self.modules)


def import_in_subprocess(module: str) -> Imported:
    """Import ``module`` in a fresh interpreter that has this one's search path and holds ``modrwkv_core.plugin``."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT, module], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, f"{module} cannot be imported in a fresh interpreter:\n{process.stderr}"
    report = json.loads(process.stdout.splitlines()[-1])
    return Imported(report["seconds"], frozenset(report["modules"]))


def foreign_modules(imported: Imported, module: str) -> list[str]:
    """Return what a light module must not import: all but the standard library, pluggy and its own package.

    Modules of the core are listed by their full names, those of others by their packages.
    """
    own = module.partition(".")[0]
    allowed = sys.stdlib_module_names | {"pluggy", "modrwkv_core", own}
    packages = {name for name in imported.packages - allowed if not name.startswith("__")}
    core = {name for name in imported.modules if name.startswith("modrwkv_core.") and own != "modrwkv_core"}
    return sorted(packages | core)
