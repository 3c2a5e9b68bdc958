"""``modrwkv plugins``: list, inspect and diagnose what is installed; write and check plugins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from modrwkv_core.cli import authoring
from modrwkv_core.cli.diagnosis import diagnose
from modrwkv_core.cli.discovered import discovered
from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import KINDS, ComponentSpec, Kind
from modrwkv_core.registry import Plugin, Registry
from modrwkv_core.registry.hints import known
from modrwkv_core.registry.installed import canonical


@click.group()
def plugins() -> None:
    """List, inspect and diagnose the installed plugins; write and check your own."""


plugins.add_command(authoring.new)
plugins.add_command(authoring.check)


@plugins.command(name="list")
@click.option("--kind", type=click.Choice(KINDS), help="Only components of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_context
def list_plugins(context: click.Context, kind: Kind | None, as_json: bool) -> None:
    """List the installed plugins and their components."""
    found = discovered(context).plugins
    listed = [plugin for plugin in found if kind is None or _components(plugin, kind)]
    if as_json:
        click.echo(json.dumps([_as_json(plugin, kind) for plugin in listed], indent=2, ensure_ascii=False))
    else:
        header = ("DISTRIBUTION", "VERSION", "STATE", "KIND", "NAME", "MODALITY", "SUMMARY")
        click.echo(_table([header, *(row for plugin in listed for row in _rows(plugin, kind))]))
    unusable = [plugin.name for plugin in found if plugin.state not in ("ok", "disabled")]
    if unusable:
        click.echo(f"not usable: {', '.join(unusable)}; `modrwkv plugins doctor` explains", err=True)


@plugins.command()
@click.argument("name")
@click.option("--list", "list_models", is_flag=True, help="List the models that the component NAME knows, one a line.")
@click.pass_context
def info(context: click.Context, name: str, list_models: bool) -> None:
    """Describe the plugin or the component NAME.

    A plugin is named by its distribution, a component by its name, kind/name or distribution/name.
    """
    registry = discovered(context)
    if list_models:
        _list_models(registry, name)
        return
    described = [plugin for plugin in registry.plugins if canonical(name) in _plugin_names(plugin)]
    if described:
        click.echo("\n\n".join(_describe_plugin(plugin) for plugin in described))
        return
    matches = _matches(registry, name)
    if not matches:
        _refuse_unknown(registry, name)
    click.echo("\n\n".join(f"{_title(plugin)}\n{_describe_component(spec)}" for plugin, spec in matches))


def _matches(registry: Registry, name: str) -> list[tuple[Plugin, ComponentSpec]]:
    return [
        (plugin, spec)
        for plugin in registry.plugins
        for spec in plugin.components
        if name.removeprefix(f"{spec.kind}/").removeprefix(f"{plugin.distribution}/") in (spec.name, *spec.aliases)
    ]


def _list_models(registry: Registry, name: str) -> None:
    matches = _matches(registry, name)
    if not matches:
        _refuse_unknown(registry, name)
    models = [model for _, spec in matches for model in registry.config_class(spec.kind, spec.name).known_models()]
    if not models:
        raise PluginError(f"{name!r} has no list of models", hint="`modrwkv plugins info` without --list describes it")
    click.echo("\n".join(models))


@plugins.command()
@click.option("--deep", is_flag=True, help="Import configurations and implementations, too, as a model would.")
@click.pass_context
def doctor(ctx: click.Context, deep: bool) -> None:
    """Explain every plugin that cannot be used, and what to do; exit with 1 if something is wrong.

    Each entry module is imported in a process of its own, which shows one that ends the process, prints, is slow or
    imports something heavy. Of each plugin the first cause is told; fix it and look again.
    """
    diagnosis = diagnose(deep=deep)
    found = diagnosis.registry.plugins
    for plugin in found:
        if plugin.state == "disabled" and not any(problem.startswith(plugin.name) for problem in diagnosis.problems):
            click.echo(f"{_title(plugin)}\n  {plugin.error}\n")
    for problem in diagnosis.problems:
        click.echo(f"{problem}\n")
    usable = sum(plugin.state == "ok" for plugin in found)
    click.echo(f"{usable} of {len(found)} plugins are usable, {len(diagnosis.problems)} problems")
    ctx.exit(1 if diagnosis.problems else 0)


def _components(plugin: Plugin, kind: Kind | None) -> list[ComponentSpec]:
    return [spec for spec in plugin.components if kind in (None, spec.kind)]


def _as_json(plugin: Plugin, kind: Kind | None) -> dict[str, Any]:
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "error": plugin.error,
        "components": [
            {"kind": spec.kind, "name": spec.name, "modality": spec.modality, "summary": spec.summary}
            for spec in _components(plugin, kind)
        ],
        **{
            field: [{"name": spec.name, "summary": spec.summary} for spec in getattr(plugin, field) if kind is None]
            for field in ("modalities", "presets", "commands")
        },
    }


def _rows(plugin: Plugin, kind: Kind | None) -> list[tuple[str, ...]]:
    provided: list[tuple[str, ...]] = [
        (spec.kind, spec.name, spec.modality or "", spec.summary) for spec in _components(plugin, kind)
    ]
    if kind is None:
        provided += [("modality", modality.name, "", modality.summary) for modality in plugin.modalities]
        provided += [("preset", preset.name, "", preset.summary) for preset in plugin.presets]
        provided += [("command", command.name, "", command.summary) for command in plugin.commands]
    if plugin.state != "ok" or not provided:
        provided.insert(0, ("", "", "", plugin.reason))
    return [(plugin.distribution, plugin.version, plugin.state, *columns) for columns in provided]


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _title(plugin: Plugin) -> str:
    return f"{plugin.name} {plugin.version}: {plugin.state}"


def _plugin_names(plugin: Plugin) -> set[str]:
    return {canonical(plugin.distribution), canonical(plugin.name)}


def _describe_plugin(plugin: Plugin) -> str:
    lines = [_title(plugin), f"  location        {plugin.location}"]
    if plugin.error is not None:
        lines += [f"  error           {plugin.reason}", f"  what to do      {plugin.advice}"]
    lines += [f"  modality        {modality.name}: {modality.summary}" for modality in plugin.modalities]
    lines += [f"  preset          {preset.name}: {preset.summary}" for preset in plugin.presets]
    lines += [f"  command         {command.name}: {command.summary}" for command in plugin.commands]
    return "\n".join(lines + [_describe_component(spec) for spec in plugin.components])


def _describe_component(spec: ComponentSpec) -> str:
    facts = {
        "summary": spec.summary,
        "modality": spec.modality,
        "paper": spec.paper,
        "former names": ", ".join(spec.aliases),
        "configuration": spec.config,
        "implementation": spec.implementation,
        "processor": spec.processor,
    }
    return "\n".join(
        [f"  {spec.kind}/{spec.name}", *(f"    {name:<15} {fact}" for name, fact in facts.items() if fact)]
    )


def _refuse_unknown(registry: Registry, name: str) -> NoReturn:
    """Raise the error that explains why nothing installed is called ``name``."""
    prefix, _, bare = name.rpartition("/")
    for kind in KINDS:
        if kind == prefix or (not prefix and bare in known(kind)):
            registry.component(kind, bare)  # says which package to install or what was meant
    import difflib

    names = {plugin.distribution for plugin in registry.plugins}
    names.update(name for kind in KINDS for name in (*registry.names(kind), *known(kind)))
    close = difflib.get_close_matches(name, names)
    raise PluginError(
        f"no installed plugin or component is called {name!r}",
        hint=f"did you mean {' or '.join(close)}?" if close else "`modrwkv plugins list` shows them all",
    )
