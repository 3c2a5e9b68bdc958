"""The contract of commands."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

import click
from click.testing import CliRunner

from modrwkv_core.plugin import PLUGIN_API, CommandSpec
from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess
from modrwkv_core.testing.registration import PluginContract, load

__all__ = ["CommandContract"]


class CommandContract(PluginContract):
    """A command of the ``modrwkv`` program; a subclass sets ``plugin`` and ``name``.

    Attributes:
        name: The word on the command line.
    """

    kind: ClassVar = "command"

    name: ClassVar[str]

    @property
    def spec(self) -> CommandSpec:
        """The command's record."""
        specs = [spec for spec in import_module(self.plugin).modrwkv_commands() if spec.name == self.name]
        assert len(specs) == 1, f"{self.plugin} registers the command {self.name!r} {len(specs)} times, not once"
        spec: CommandSpec = specs[0]
        return spec

    def test_record_leads_to_a_command(self) -> None:
        """The record has a summary and the API's number, and names a ``click.Command``.

        Remedy: let ``command`` of the ``CommandSpec`` name a function with the decorator ``click.command``.
        """
        spec = self.spec
        assert spec.summary, f"{self.name} has no summary for `modrwkv --help`"
        assert spec.api == PLUGIN_API, f"{self.name} is written for API {spec.api}, this core has {PLUGIN_API}"
        assert isinstance(load(spec.command), click.Command), f"{spec.command} is not a click.Command"

    def test_importing_it_never_loads_torch(self) -> None:
        """``--help`` and a mistyped option must not cost seconds.

        Remedy: import what is heavy in the command's function.
        """
        module = self.spec.command.partition(":")[0]
        heavy = sorted(import_in_subprocess(module).packages & HEAVY)
        assert not heavy, f"{module} imports {', '.join(heavy)}: import that in the command's function"

    def test_it_explains_itself(self) -> None:
        """``--help`` says what the command does and what each option means.

        Remedy: give the command's function a docstring, and each option a ``help``.
        """
        command = load(self.spec.command)
        done = CliRunner().invoke(command, ["--help"], prog_name=f"modrwkv {self.name}")
        assert done.exit_code == 0, f"`modrwkv {self.name} --help` exits with {done.exit_code}: {done.output}"
        assert command.help, f"{self.name} has no docstring"
        silent = [option.opts[0] for option in command.params if isinstance(option, click.Option) and not option.help]
        assert not silent, f"options of {self.name} without help: {', '.join(silent)}"
