"""What is wrong with the installed plugins, for ``modrwkv doctor`` and ``modrwkv plugins doctor``."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import distribution
from typing import Any

from modrwkv_core.errors import PluginError
from modrwkv_core.interfaces.guard import CORE
from modrwkv_core.registry import Plugin, Registry, discover
from modrwkv_core.registry.discovery import Settings
from modrwkv_core.registry.installed import Candidate, Requirements, canonical, scan
from modrwkv_core.registry.probe import complaints

__all__ = ["Diagnosis", "diagnose"]


class Diagnosis:
    """What was found.

    Attributes:
        registry: The plugins with their states.
        problems: What is wrong and what to do, each in a few lines.
    """

    def __init__(self, registry: Registry, problems: list[str]) -> None:
        self.registry = registry
        self.problems = problems


def diagnose(*, deep: bool) -> Diagnosis:
    """Look at every plugin.

    Each entry module is first imported in a process of its own: one that ends its process could not be reported
    otherwise.

    Args:
        deep: Whether to import configurations and implementations, too, which takes as long as loading a model.
    """
    unmet = Requirements().unmet(distribution(CORE))
    if unmet:
        # Whatever else is wrong may follow from this.
        problem = f"modrwkv itself {unmet}\n  what to do: `pip install modrwkv` installs what is missing"
        return Diagnosis(discover(), [problem])
    settings = Settings(None, ())
    wanted = [candidate for candidate in scan() if settings.refusal(candidate.plugin) is None]
    found = {candidate.plugin.name: list(_of_import(candidate)) for candidate in wanted}
    fatal = [name for name, reasons in found.items() if any(" ends the process " in reason for reason in reasons)]
    registry = discover(disable=fatal)
    problems = []
    for plugin in registry.plugins:
        first = next(_of_plugin(plugin, registry, found.get(plugin.name, []), plugin.name in fatal, deep), None)
        if first is not None:
            problems.append(first)
    problems += [f"{conflict.message}\n  what to do: {conflict.hint}" for conflict in registry.conflicts()]
    return Diagnosis(registry, problems)


def _of_import(candidate: Candidate) -> Iterator[str]:
    if candidate.entry_point is not None and canonical(candidate.plugin.distribution) != CORE:
        yield from complaints(candidate.entry_point.module)


def _of_plugin(plugin: Plugin, registry: Registry, reasons: list[str], fatal: bool, deep: bool) -> Iterator[str]:
    """Yield what is wrong with ``plugin``, its root cause first."""
    title = f"{plugin.name} {plugin.version}"
    if fatal:
        yield _problem(f"{title}: unusable", reasons[0], f"fix or uninstall {plugin.distribution}")
    if plugin.state not in ("ok", "disabled"):
        yield _problem(f"{title}: {plugin.state}", (plugin.error or "").rstrip(), plugin.advice)
    if reasons:
        yield _problem(f"{title}: {plugin.state}", "\n".join(reasons), f"{plugin.distribution} must be fixed")
    if deep and plugin.state == "ok":
        for load in _parts(plugin, registry):
            try:
                load()
            except PluginError as error:
                where = "".join(traceback.format_tb(error.__cause__.__traceback__)) if error.__cause__ else ""
                yield _problem(f"{title}: a part cannot be used", f"{where}{error.message}", error.hint or "")


def _parts(plugin: Plugin, registry: Registry) -> Iterator[Callable[[], Any]]:
    """Yield what imports each thing that ``plugin`` provides, in the order in which a model needs it."""
    for spec in plugin.components:
        name = f"{plugin.distribution}/{spec.name}"
        yield partial(registry.config_class, spec.kind, name)
        yield partial(registry.implementation, spec.kind, name)
        if spec.processor is not None:
            yield partial(registry.processor, name)
    for modality in plugin.modalities:
        yield partial(registry.modality_class, f"{plugin.distribution}/{modality.name}")
    for command in plugin.commands:
        yield partial(registry.command, f"{plugin.distribution}/{command.name}")
    for preset in plugin.presets:
        yield partial(registry.preset_text, f"{plugin.distribution}/{preset.name}")


def _problem(title: str, what: str, advice: str) -> str:
    return f"{title}\n{textwrap.indent(what, '  ')}\n  what to do: {advice}"
