"""The commands of the pages on speed exist and take the options that the pages give them."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from markdown_it import MarkdownIt

from modrwkv_core.cli.bench import bench

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "explanation" / "performance.md", DOCS / "how-to" / "busy-machine.md")


def test_every_command_of_the_pages_can_be_given() -> None:
    tokens = [token for page in PAGES for token in MarkdownIt().parse(page.read_text(encoding="utf-8"))]
    lines = [line for token in tokens if token.type == "code_block" for line in token.content.splitlines()]
    assert len(lines) > 10
    context = click.Context(bench)
    named = set()
    for line in lines:
        program, group, name, *arguments = shlex.split(line)
        assert (program, group) == ("modrwkv", "bench")
        command = bench.get_command(context, name)
        assert command is not None, line
        command.make_parser(click.Context(command)).parse_args(arguments)  # an unknown option raises
        named.add(name)
    assert named == set(bench.list_commands(context)) - {"wkv7-tuning"}
