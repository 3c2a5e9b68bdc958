"""A plugin of pytest that runs contract tests only and writes what became of each to a file.

Used as ``pytest -p modrwkv_core.authoring.recorder --contract-report FILE``. The file holds a JSON array, in which each
object has the fields of a :class:`Record`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest

from modrwkv_core.testing.registration import PluginContract

__all__ = ["Outcome", "Record", "reason", "remedy", "subject"]

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one check with one set of settings.

    Attributes:
        subject: What was checked: ``kind/name``, or a plugin's entry module.
        point: The check's name without ``test_``.
        settings: Which of the contract's ``configs``, in words; empty if the check uses none.
        outcome: ``passed``, ``failed`` or ``skipped``.
        reason: Why, unless it passed.
        remedy: What to do if it failed.
    """

    subject: str
    point: str
    settings: str
    outcome: Outcome
    reason: str
    remedy: str


def subject(contract: type[PluginContract]) -> str:
    """Say in a word what ``contract`` is about; a logger is called like its entry module."""
    kind, name = getattr(contract, "kind", None), getattr(contract, "name", contract.plugin)
    return name if kind is None else f"{kind}/{name}"


def remedy(check: Any) -> str:
    """Return the paragraph of a check's docstring that says what to do when it fails."""
    _, _, text = (inspect.getdoc(check) or "").partition("Remedy: ")
    return " ".join(text.split()).replace("``", "`")


class Recorder:
    """Collects records and writes them in the end."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.records: list[Record] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the checks of contracts."""
        items[:] = [item for item in items if issubclass(getattr(item, "cls", None) or object, PluginContract)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a test module that cannot be imported."""
        if report.failed:
            self.records.append(Record(report.nodeid, "can be imported", "", "failed", report.longreprtext, ""))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Function, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note the outcome of a check, and of its preparation if that fails."""
        report = yield
        if report.when == "call" or not report.passed:
            settings = item.callspec.id if hasattr(item, "callspec") else ""
            point = (item.originalname or item.name).removeprefix("test_")
            contract: type[PluginContract] = item.cls
            why = "" if call.excinfo is None else reason(call.excinfo.value)
            self.records.append(Record(subject(contract), point, settings, report.outcome, why, remedy(item.function)))
        return report

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        self.file.write_text(json.dumps([asdict(record) for record in self.records]), encoding="utf-8")


def reason(error: BaseException) -> str:
    """Say in words why a check failed: by its assertion, or by whatever the component raised."""
    return str(error) if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: {error}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file."""
    parser.addoption("--contract-report", type=Path, required=True, help="File for the outcomes of contract checks.")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record."""
    config.pluginmanager.register(Recorder(config.getoption("--contract-report")))
