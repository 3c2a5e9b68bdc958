"""The program: commands come from plugins, users' mistakes are messages with exit code 2."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from modrwkv_core.cli.main import main

COMMANDS = """
import sys
import click
from modrwkv_core.errors import DataError

@click.command()
@click.option("--how", default="")
def act(how):
    if how == "user":
        raise DataError("the file x.png is empty", hint="give another")
    if how == "own":
        raise AssertionError("our mistake")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "exit":
        sys.exit(7)
    if how == "flood":
        for _ in range(100_000):
            click.echo("x" * 100)
    click.echo("done")
    return "a value that is not an exit code"
"""


@pytest.fixture
def act(site: Any) -> Any:
    """Install a plugin with a command that goes wrong on request."""
    (site.folder / "fake_command.py").write_text(COMMANDS)
    site.install(
        "fake-act",
        """
        from modrwkv_core.plugin import CommandSpec, hookimpl

        @hookimpl
        def modrwkv_commands():
            return [CommandSpec(api=1, name="act", summary="go wrong on request", command="fake_command:act")]
        """,
    )
    return site


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the program in this process: its exit code, stdout and stderr."""
    monkeypatch.delenv("MODRWKV_TRACEBACK", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["modrwkv", *arguments])
        with pytest.raises(SystemExit) as raised:
            main()
        written = capsys.readouterr()
        return int(raised.value.code or 0), written.out, written.err

    return call


def run_process(site: Any, *arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site.folder)}
    command = [sys.executable, "-c", "from modrwkv_core.cli.main import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, **kwargs)


def test_a_plugins_command_runs(act: Any, run: Any) -> None:
    assert run("act") == (0, "done\n", "")


def test_help_lists_commands_without_importing_them(act: Any, run: Any) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert re.search(r"^  act +go wrong on request$", out, re.MULTILINE)
    assert "train " in out
    assert "fake_command" not in sys.modules


def test_help_of_one_command(act: Any, run: Any) -> None:
    code, out, _ = run("act", "--help")
    assert code == 0
    assert "--how" in out


def test_version(run: Any) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("modrwkv, version 0.")


def test_a_users_mistake_is_a_message_and_exit_code_2(act: Any, run: Any) -> None:
    assert run("act", "--how", "user") == (2, "", "error: the file x.png is empty\nhint: give another\n")


@pytest.mark.parametrize(
    "arguments", [("--traceback", "act", "--how", "user"), ("act", "--how", "user", "--traceback")]
)
def test_the_traceback_is_shown_on_request(act: Any, run: Any, arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback (most recent call last)" in err
    assert "fake_command.py" in err
    assert err.endswith("error: the file x.png is empty\nhint: give another\n")


def test_the_environment_asks_for_the_traceback_too(act: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODRWKV_TRACEBACK", "1")
    assert "Traceback" in run("act", "--how", "user")[2]
    monkeypatch.setenv("MODRWKV_TRACEBACK", "0")
    assert "Traceback" not in run("act", "--how", "user")[2]


@pytest.mark.parametrize("arguments", [("act", "--hwo", "x"), ("--no-such-option",), ("plugins", "lst")])
def test_usage_errors_exit_with_2(act: Any, run: Any, arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Usage:" in err


def test_an_unknown_command_gets_a_suggestion(act: Any, run: Any) -> None:
    code, _, err = run("atc")
    assert code == 2
    assert "unknown command 'atc'" in err
    assert "did you mean act?" in err


def test_a_command_that_cannot_be_imported_names_its_distribution(act: Any, run: Any) -> None:
    (act.folder / "fake_command.py").write_text("import no_such_library")
    code, _, err = run("act")
    assert code == 2
    assert "No module named 'no_such_library'" in err
    assert "from fake-act" in err


def test_a_contested_command_is_an_error_on_use_only(act: Any, run: Any) -> None:
    act.install("fake-rival", (act.folder / "fake_act_plugin.py").read_text())
    assert run("--version")[0] == 0
    code, _, err = run("act")
    assert code == 2
    assert "claimed by fake-act:main and fake-rival:main" in err


def test_own_exit_codes_and_interrupts_are_kept(act: Any, run: Any) -> None:
    assert run("act", "--how", "exit")[0] == 7
    assert run("act", "--how", "interrupt")[0] == 130


def test_a_plugins_mistake_names_the_plugin(act: Any) -> None:
    finished = run_process(act, "act", "--how", "own")
    assert finished.returncode == 2
    assert "error: the command failed: AssertionError: our mistake (command/act, from fake-act)" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_our_own_mistakes_are_tracebacks(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError("our mistake")

    monkeypatch.setattr("modrwkv_core.manifest.json_schema.manifest_schema", lambda registry: fail())
    with pytest.raises(AssertionError, match="our mistake"):
        run("schema")


def test_warnings_are_one_line(act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODRWKV_DISABLE_PLUGINS", "fake-atc")
    finished = run_process(act, "act")
    assert finished.returncode == 0
    assert finished.stderr == "warning: MODRWKV_DISABLE_PLUGINS names 'fake-atc', which is not an installed plugin\n"


def test_a_closed_pipe_ends_quietly(act: Any) -> None:
    command = f"{sys.executable} -c 'from modrwkv_core.cli.main import main; main()' act --how flood | head -n 1"
    environment = os.environ | {"PYTHONPATH": str(act.folder)}
    finished = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert finished.stdout == "x" * 100 + "\n"
    assert finished.stderr == ""
