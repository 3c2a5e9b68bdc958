"""The ``modrwkv`` program: its commands are registered by plugins and imported when one of them runs."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import click

from modrwkv_core.cli.discovered import discovered
from modrwkv_core.cli.threads import limit_spinning
from modrwkv_core.errors import ModRWKVError, PluginError
from modrwkv_core.interfaces.guard import blame

__all__ = ["main", "run_program"]


class Program(click.Group):
    """A group whose commands come from the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [command.spec.name for command in discovered(ctx).commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Import one command.

        Raises:
            PluginError: There is no such command, or its plugin is broken.
        """
        registry = discovered(ctx)
        command = registry.command(cmd_name)
        if isinstance(command, click.Command):
            return command
        entry = next(entry for entry in registry.commands() if entry.spec.name == cmd_name)
        raise PluginError(
            f"{entry.spec.command} is not a click.Command",
            component=entry.origin.component,
            distribution=entry.distribution,
            hint=f"{entry.distribution} must be fixed",
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what another plugin's raises names that plugin."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            origins = [
                entry.origin for entry in discovered(ctx).commands() if entry.spec.name == ctx.invoked_subcommand
            ]
            passing = (
                click.ClickException,
                click.Abort,
                click.exceptions.Exit,
                SystemExit,
                KeyboardInterrupt,
                BrokenPipeError,
            )
            blame(error, next(iter(origins), None), "the command", *passing)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write names and summaries from the plugins' records, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(command.spec.name, command.spec.summary) for command in discovered(ctx).commands()])


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="modrwkv", prog_name="modrwkv")
@click.option(
    "--traceback",
    is_flag=True,
    expose_value=False,
    help="Show the traceback of an error; anywhere on the line, or MODRWKV_TRACEBACK=1.",
)
def program() -> None:
    """Turn images, sounds and series into tokens of one RWKV-7 language model."""


def main() -> None:
    """Run the program and exit: 0, 2 for the user's mistakes, 130 when interrupted."""
    warnings.showwarning = _show_warning
    limit_spinning(os.environ)  # before anything imports torch
    sys.exit(run_program(sys.argv[1:]))


def run_program(arguments: Sequence[str]) -> int:
    """Run the program with these arguments and return its exit code."""
    try:
        code = program.main([argument for argument in arguments if argument != "--traceback"], standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except ModRWKVError as error:
        if "--traceback" in arguments or os.environ.get("MODRWKV_TRACEBACK", "") not in ("", "0"):
            traceback.print_exc()
        click.echo(f"error: {error}", err=True)
        return 2
    return code if isinstance(code, int) else 0


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    click.echo(f"warning: {message}", err=True)
