"""The command line limits how long threads spin, before torch is imported, unless the user decides."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from modrwkv_core.cli.threads import SPIN_COUNT, limit_spinning

# Reports the environment at the import of torch, which is when libgomp reads it.
SCRIPT = """
import os, sys
import modrwkv_core.cli.main as program

class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"))
            os._exit(0)

assert "torch" not in sys.modules
sys.meta_path.insert(0, AtImport())
sys.argv = ["modrwkv", "bench", "decode"]
program.main()
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, f"{SPIN_COUNT} None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, "None active"),
    ],
)
def test_the_policy_is_set_when_torch_is_imported(given: dict[str, str], expected: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment | given, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split("\n")[0] == expected


@pytest.mark.parametrize("given", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": ""}])
def test_the_users_own_setting_stays(given: dict[str, str]) -> None:
    environment = dict(given)
    limit_spinning(environment)
    assert environment == given


def test_other_settings_of_threads_do_not_matter() -> None:
    environment = {"OMP_NUM_THREADS": "1"}
    limit_spinning(environment)
    assert environment == {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": str(SPIN_COUNT)}
