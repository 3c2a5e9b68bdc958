"""``modrwkv doctor``: what this machine can do."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import version
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from modrwkv_core.cli.doctor import doctor


def test_doctor_shows_versions_threads_kernels_and_plugins(site: Any) -> None:
    site.install("fake-failed", "raise OSError('sunk')")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    rows = dict(line.strip().split("  ", 1) for line in result.stdout.splitlines() if re.match(r"  \S.*  ", line))
    shown = {name: value.strip() for name, value in rows.items()}
    assert shown["python"] == platform.python_version()
    assert shown["torch"] == version("torch")
    assert shown["threads"].startswith(f"{torch.get_num_threads()} within")
    assert shown["cpu: reference"] in ("available", "chosen")
    assert list(shown.values()).count("chosen") == 1 + torch.cuda.is_available()
    assert shown["cpu: decoding"].startswith(("compiled", "the backbone's forward pass: "))
    assert shown["cpu: linear layers"].startswith(("compiled for few tokens", "torch: "))
    assert shown["cpu: fused stages"] in ("cpu", "torch")
    assert shown["compiled CPU kernels"].startswith(("portable, ", "unavailable: "))
    assert shown["modrwkv:core"] == "ok"
    assert shown["fake-failed:main"] == "failed OSError: sunk"
    assert "fake_failed_plugin.py" in result.stdout


def test_doctor_stops_at_the_first_root_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modrwkv_kernels", None)
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert "failed  ModuleNotFoundError" in result.stdout
    assert "modrwkv:core" not in result.stdout
