"""What is wrong with a server's settings is said before a model is loaded."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from modrwkv_core.cli.main import run_program


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["runs/a", "others/a"], "'a' does not name one model"),
        (["=runs/a"], "'' does not name one model"),
        (["runs/a", "--limit", "pixels=3"], "there is no limit 'pixels'"),
        (["runs/a", "--limit", "tokens=many"], "the limit tokens is 'many'"),
        (["runs/a", "--limit", "tokens=0"], "the limit tokens is 0"),
        (["runs/none"], "runs/none"),
    ],
)
def test_wrong_settings_are_said(arguments: list[str], part: str, capsys: Any) -> None:
    assert run_program(["serve", *arguments]) == 2
    assert part in capsys.readouterr().err


def test_keys_that_are_none_do_not_open_the_server(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("MODRWKV_API_KEYS", " , ")
    assert run_program(["serve", "runs/a"]) == 2
    assert "MODRWKV_API_KEYS holds no key" in capsys.readouterr().err


def test_missing_libraries_are_said_to_be(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "modrwkv_core.serving.program", None)
    assert run_program(["serve", "runs/a"]) == 2
    assert "pip install 'modrwkv[serve]'" in capsys.readouterr().err
