"""Checks a plugin against the whole contract, point by point."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from modrwkv_core.authoring.recorder import Outcome, Record, reason, remedy, subject
from modrwkv_core.errors import PluginError
from modrwkv_core.registry import Plugin, Registry, discover
from modrwkv_core.registry.installed import GROUP, canonical
from modrwkv_core.registry.probe import complaints
from modrwkv_core.testing import (
    AdapterContract,
    AugmentationContract,
    BackboneContract,
    CommandContract,
    CompressorContract,
    EncoderContract,
    FinetuningContract,
    HeadContract,
    LoggerContract,
    MetricContract,
    ModalityContract,
    OptimizerContract,
    PresetContract,
    SchedulerContract,
    SourceContract,
    TaskContract,
    TokenizerContract,
)
from modrwkv_core.testing.logger import LIFECYCLE
from modrwkv_core.testing.registration import PluginContract

__all__ = ["Finding", "Subject", "check_plugin", "find_subject"]

CONTRACTS: dict[str, type[PluginContract]] = {
    "adapter": AdapterContract,
    "augmentation": AugmentationContract,
    "backbone": BackboneContract,
    "command": CommandContract,
    "compressor": CompressorContract,
    "encoder": EncoderContract,
    "finetuning": FinetuningContract,
    "head": HeadContract,
    "logger": LoggerContract,
    "metric": MetricContract,
    "modality": ModalityContract,
    "optimizer": OptimizerContract,
    "preset": PresetContract,
    "scheduler": SchedulerContract,
    "source": SourceContract,
    "task": TaskContract,
    "tokenizer": TokenizerContract,
}
"""The contract of each kind of component, and of what else a plugin brings."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        distribution: The installed distribution.
        sources: The folder with its pyproject.toml, if that is known: contract tests are no part of wheels.
    """

    distribution: Distribution
    sources: Path | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One point of the contract.

    Attributes:
        subject: What was checked: a plugin, or a component as ``kind/name``.
        point: What must hold, in words.
        outcome: ``passed``, ``failed`` or ``skipped``.
        reason: Why, unless it passed.
        remedy: What to do if it did not pass.
    """

    subject: str
    point: str
    outcome: Outcome
    reason: str = ""
    remedy: str = ""


def find_subject(target: str) -> Subject:
    """Find a distribution by its source folder or its name.

    Raises:
        PluginError: The folder holds no distribution, or nothing of that name is installed.
    """
    folder = Path(target)
    if not folder.is_dir():
        try:
            installed = distribution(target)
        except PackageNotFoundError as error:
            raise PluginError(
                f"{target!r} is neither a folder nor an installed distribution",
                hint="`modrwkv plugins list` shows what is installed",
            ) from error
        return Subject(installed, _sources(installed))
    try:
        name = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise PluginError(
            f"{folder} is not the folder of a distribution: {type(error).__name__}: {error}",
            hint="name the folder whose pyproject.toml has a [project]",
        ) from error
    try:
        return Subject(distribution(name), folder)
    except PackageNotFoundError as error:
        raise PluginError(
            f"{name}, whose sources are in {folder}, is not installed",
            distribution=name,
            hint=f"`pip install --editable {folder}`; what users get is what is checked",
        ) from error


def check_plugin(checked: Subject) -> Iterator[Finding]:
    """Yield what is found of each point: the registration first, then the contracts of the components.

    Raises:
        PluginError: The distribution brings no plugin, or its tests cannot be run.
    """
    name = canonical(checked.distribution.metadata["Name"])
    yield from _imports(checked.distribution)
    registry = discover()
    plugins = [plugin for plugin in registry.plugins if canonical(plugin.distribution) == name]
    if not plugins:
        raise PluginError(
            f"{name} has no entry point in the group modrwkv",
            distribution=name,
            hint="add one to [project.entry-points.modrwkv] in its pyproject.toml and install it again",
        )
    yield from _registration(plugins, registry)
    usable = [plugin for plugin in plugins if plugin.state == "ok"]
    if not usable:
        return
    if checked.sources is None:
        yield from _without_tests(checked.distribution, usable)
        return
    records = _run_tests(checked.sources / "tests")
    yield from _merged(records)
    tested = {record.subject for record in records}
    for plugin in usable:
        for provided in _provided(plugin, checked.distribution):
            if provided not in tested:
                yield _untested(provided, plugin)


def _imports(installed: Distribution) -> Iterator[Finding]:
    """Import each entry module in a process of its own, before this one does."""
    for entry_point in installed.entry_points.select(group=GROUP):
        reasons = list(complaints(entry_point.module))
        yield Finding(
            f"{installed.metadata['Name']}:{entry_point.name}",
            "is imported fast, silently and without side effects",
            "failed" if reasons else "passed",
            "; ".join(reasons),
            "keep plugin.py and the package's __init__.py to imports of modrwkv_core.plugin and hook implementations",
        )


def _registration(plugins: Sequence[Plugin], registry: Registry) -> Iterator[Finding]:
    for plugin in plugins:
        if plugin.state == "ok":
            yield Finding(plugin.name, "can be loaded", "passed")
        else:
            yield Finding(plugin.name, "can be loaded", "failed", f"{plugin.state}: {plugin.reason}", plugin.advice)
    names = [plugin.name for plugin in plugins]
    conflicts = [conflict for conflict in registry.conflicts() if any(name in conflict.message for name in names)]
    for conflict in conflicts:
        yield Finding(
            conflict.component or "", "has a name of its own", "failed", conflict.message, conflict.hint or ""
        )


def _run_tests(folder: Path) -> list[Record]:
    """Run the contract tests below ``folder`` in a process of their own."""
    if not folder.is_dir():
        return []
    if find_spec("pytest") is None:
        raise PluginError("contract tests run in pytest, which is not installed", hint="`pip install pytest`")
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pytest", "-p", "modrwkv_core.authoring.recorder", "-p", "no:cacheprovider"]
        # Options of the author's own configuration, such as several processes, would keep outcomes from the recorder.
        command += ["--contract-report", str(report), "--override-ini=addopts=", "--import-mode=importlib", str(folder)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not report.exists():
            raise PluginError(
                f"pytest cannot run {folder}:\n{(done.stdout + done.stderr).strip()}",
                hint=f"`python -m pytest {folder}` must work first",
            )
        return [Record(**record) for record in json.loads(report.read_text(encoding="utf-8"))]


def _merged(records: Sequence[Record]) -> Iterator[Finding]:
    """Yield one finding for each check, whatever settings it ran with."""

    def key(record: Record) -> tuple[str, str]:
        return record.subject, record.point

    order = list(dict.fromkeys(map(key, records)))
    for (about, point), group in groupby(sorted(records, key=lambda record: order.index(key(record))), key):
        same = list(group)
        worst = next((outcome for outcome in ("failed", "skipped") if outcome in {r.outcome for r in same}), "passed")
        concerned = [record for record in same if record.outcome == worst]
        reasons = {record.reason: record.settings for record in reversed(concerned) if record.reason}
        words = "; ".join(f"with {settings}: {reason}" if settings else reason for reason, settings in reasons.items())
        yield Finding(about, _in_words(point), concerned[0].outcome, words, concerned[0].remedy)


def _without_tests(installed: Distribution, plugins: Sequence[Plugin]) -> Iterator[Finding]:
    """Check what can be checked of an installed wheel: all that needs no settings of its author."""
    for plugin in plugins:
        value = _entry_module(plugin, installed)
        contracts: list[type[PluginContract]] = [type("Checked", (PluginContract,), {"plugin": value})]
        for provided in _provided(plugin, installed):
            kind, _, name = provided.partition("/")
            contracts.append(type(f"Checked{kind}", (CONTRACTS[kind],), {"plugin": value, "name": name}))
        for contract in contracts:
            yield from _checks_without_settings(contract, skip=PluginContract if contract is not contracts[0] else None)
        yield Finding(
            plugin.name,
            "keeps the rest of the contract",
            "skipped",
            "wheels hold no contract tests, which say with what settings to try a component",
            "check the folder of its sources",
        )


def _checks_without_settings(contract: type[Any], skip: type[Any] | None) -> Iterator[Finding]:
    for name, check in inspect.getmembers(contract, inspect.isfunction):
        if not name.startswith("test_") or hasattr(skip, name) or len(inspect.signature(check).parameters) > 1:
            continue
        point = _in_words(name.removeprefix("test_"))
        try:
            check(contract())
        except Exception as error:  # whatever a stranger's module raises is the finding
            yield Finding(subject(contract), point, "failed", reason(error), remedy(check))
        else:
            yield Finding(subject(contract), point, "passed")


def _provided(plugin: Plugin, installed: Distribution) -> list[str]:
    """Return what a plugin brings, as its contracts' subjects call it."""
    provided = [f"{kind}/{spec.name}" for kind, spec in plugin.provided()]
    module = _entry_module(plugin, installed)
    if any(hasattr(import_module(module), hook) for hook in LIFECYCLE):
        provided.append(f"logger/{module}")
    return provided


def _entry_module(plugin: Plugin, installed: Distribution) -> str:
    return next(point.value for point in installed.entry_points if plugin.name.endswith(f":{point.name}"))


def _untested(provided: str, plugin: Plugin) -> Finding:
    kind, _, name = provided.partition("/")
    contract = CONTRACTS[kind]
    return Finding(
        provided,
        "has a contract test",
        "failed",
        f"no class in the tests of {plugin.distribution} inherits {contract.__name__} for it",
        f"inherit `modrwkv_core.testing.{contract.__name__}` in a test module, with "
        + (f"`plugin = {name!r}`" if kind == "logger" else f"`plugin` and `name = {name!r}`"),
    )


def _in_words(point: str) -> str:
    return point.replace("_", " ")


def _sources(installed: Distribution) -> Path | None:
    """Return the folder of an editable installation (PEP 610)."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    folder = Path(unquote(urlsplit(origin["url"]).path))
    return folder if folder.is_dir() else None
