"""The process of the server that is measured."""

from __future__ import annotations

import shlex
import sys

import pytest

from modrwkv_core.benchmarking.server import free_port, running
from modrwkv_core.errors import ModRWKVError


@pytest.mark.parametrize("early_lines", [0, 100])
def test_a_server_that_ends_at_once_is_quoted(early_lines: int) -> None:
    script = f"print('early\\n' * {early_lines}, file=sys.stderr); sys.exit('error: no music\\nhint: sing')"
    command = [sys.executable, "-c", f"import sys; {script}"]
    with pytest.raises(ModRWKVError) as caught, running(command, free_port(), 1):
        pass
    first, *quoted, hint = str(caught.value).splitlines()
    assert "exit code 1" in first
    assert quoted[-2:] == ["  error: no music", "  hint: sing"]
    assert len(quoted) <= 10
    assert hint == f"hint: try it by itself: {shlex.join(command)}"


def test_a_server_that_ends_without_a_word_is_named_by_its_command() -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    message = r"^a server ended with exit code 3 before it answered\nhint: .*SystemExit"
    with pytest.raises(ModRWKVError, match=message), running(command, free_port(), 1):
        pass
