"""``modrwkv plugins new`` and ``modrwkv plugins check``: for plugin authors."""

from __future__ import annotations

import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modrwkv_core.authoring.kinds import SCAFFOLDS

if TYPE_CHECKING:
    from modrwkv_core.authoring.check import Finding

MARKS = {"passed": "pass", "failed": "FAIL", "skipped": "skip"}


@click.command()
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(list(SCAFFOLDS)), help="What it is.")
@click.option(
    "--modality",
    help="Encoders, augmentations: whose signals; for encoders, one that is not installed is written, too.",
)
@click.option("--path", type=click.Path(path_type=Path), help="Folder to write into; by default modrwkv-NAME.")
def new(name: str, kind: str, modality: str | None, path: Path | None) -> None:
    """Write a new distribution that brings NAME.

    It is complete: it installs, works, is typed, and passes its contract test. Change it from there.
    """
    from modrwkv_core.authoring.scaffold import plan_distribution, write_distribution
    from modrwkv_core.registry import discover

    plan = plan_distribution(name, kind, modality, discover())
    folder = path or Path(plan.distribution)
    for file in write_distribution(plan, folder):
        click.echo(file)
    if plan.new_modality:
        click.echo(f"the modality {plan.modality} is new; `modrwkv plugins list` shows those that are installed")
    click.echo(f"next: pip install --editable {folder}")
    click.echo(f"      modrwkv plugins check {folder}")


@click.command()
@click.argument("target", metavar="PATH|DISTRIBUTION")
@click.pass_context
def check(ctx: click.Context, target: str) -> None:
    """Hold an installed plugin to the whole contract; exit with 1 if it breaks a point.

    The contract tests in its sources say with what settings to try each component. PATH is the folder of the sources,
    DISTRIBUTION the name of what is installed; one that is installed editable leads to its sources.
    """
    from modrwkv_core.authoring.check import check_plugin, find_subject

    subject = find_subject(target)
    installed = subject.distribution
    click.echo(f"{installed.metadata['Name']} {installed.version} in {subject.sources or installed.locate_file('')}")
    outcomes: Counter[str] = Counter()
    for finding in check_plugin(subject):
        outcomes[finding.outcome] += 1
        click.echo(_describe(finding))
    click.echo(f"{outcomes['passed']} points hold, {outcomes['failed']} do not, {outcomes['skipped']} were not checked")
    ctx.exit(1 if outcomes["failed"] else 0)


def _describe(finding: Finding) -> str:
    lines = [f"{MARKS[finding.outcome]}  {finding.subject}  {finding.point}"]
    if finding.reason:
        lines.append(textwrap.indent(finding.reason, " " * 6))
    if finding.remedy and finding.outcome != "passed":
        lines.append(f"      remedy: {finding.remedy}")
    return "\n".join(lines)
