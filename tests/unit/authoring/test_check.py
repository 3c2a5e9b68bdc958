"""``plugins check`` finds what breaks the contract, and says what to do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modrwkv_core.authoring import check
from modrwkv_core.authoring.check import Finding, Subject, check_plugin, find_subject
from modrwkv_core.authoring.recorder import Record, remedy
from modrwkv_core.cli.plugins import plugins
from modrwkv_core.errors import PluginError
from modrwkv_core.testing import EncoderContract


@pytest.fixture
def run_check(workshop: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Result]]:
    """Check a distribution of the workshop in this process, which has torch already."""
    before = set(sys.modules)
    for folder in workshop.search_path():
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    yield lambda name: CliRunner().invoke(plugins, ["check", name], catch_exceptions=False)
    for name in set(sys.modules) - before:
        if str(workshop.folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_plugin_that_keeps_the_contract_passes(workshop: Any, run_check: Callable[[str], Result]) -> None:
    checked = run_check("Modrwkv_Ecg.Patches")
    assert checked.exit_code == 0, checked.output
    lines = checked.stdout.splitlines()
    assert lines[0] == f"modrwkv-ecg-patches 0.1.0 in {workshop.project('ecg_patches')}"
    assert "pass  modrwkv-ecg-patches:ecg_patches  can be loaded" in lines
    assert "pass  encoder/ecg_patches  entry module is light" in lines
    assert "pass  encoder/ecg_patches  batch equals items alone" in lines
    assert "pass  encoder/ecg_patches  odd signals are read or refused" in lines
    assert "pass  modality/ecg  bad media are refused" in lines
    assert len(lines) == len(set(lines)) > 25
    assert lines[-1] == f"{len(lines) - 2} points hold, 0 do not, 0 were not checked"


def test_every_broken_point_is_named_with_reason_and_remedy(run_check: Callable[[str], Result]) -> None:
    checked = run_check("modrwkv-wreck")
    assert checked.exit_code == 1, checked.output
    failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
    assert set(failed) == {
        "FAIL  encoder/wreck  gradients reach every parameter",
        "FAIL  encoder/wreck  broken signals are refused",
        "FAIL  encoder/wreck  odd signals are read or refused",
        "FAIL  encoder/wreck  entry module is light",
        "FAIL  modrwkv-wreck:wreck  is imported fast, silently and without side effects",
    }
    for words in (
        "with defaults: parameters of wreck without a gradient: spare.weight, spare.bias",
        "remedy: remove unused layers",
        "RuntimeError instead of DataError for a signal with nothing in it",
        "modrwkv_wreck.plugin imports pydantic",
        "remedy: name classes in strings",
    ):
        assert words in checked.stdout
    assert checked.stdout.splitlines()[-1].endswith("points hold, 5 do not, 0 were not checked")


def test_a_component_without_a_contract_test_is_named(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install_component("fake-eye", "encoder", "eye")
    monkeypatch.setattr(check, "_run_tests", lambda folder: [])
    findings = list(check_plugin(Subject(installed("fake-eye", site), site.folder)))
    [untested] = [finding for finding in findings if finding.point == "has a contract test"]
    assert untested.reason == "no class in the tests of fake-eye inherits EncoderContract for it"
    assert "name = 'eye'" in untested.remedy


def installed(name: str, site: Any) -> PathDistribution:
    return PathDistribution(site.folder / f"{name.replace('-', '_')}-1.0.dist-info")


def test_a_plugin_that_cannot_be_loaded_is_explained(site: Any) -> None:
    site.install("fake-broken", "raise OSError('sunk')")
    [_, finding] = check_plugin(Subject(installed("fake-broken", site), None))
    assert (finding.outcome, finding.reason) == ("failed", "failed: OSError: sunk")
    assert "fix or reinstall fake-broken" in finding.remedy


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os; os._exit(0)", "ends the process with exit code 0"),
        ("print('hello')", "prints 'hello'"),
        ("import time; time.sleep(0.2)", "the budget is 50 ms"),
        ("import pydantic", "imports pydantic"),
    ],
)
def test_what_an_import_must_not_do_is_found(site: Any, source: str, words: str) -> None:
    site.install("fake-rude", source)
    first = next(iter(check_plugin(Subject(installed("fake-rude", site), None))))
    assert (first.subject, first.outcome) == ("fake-rude:main", "failed")
    assert words in first.reason


def test_a_name_that_is_claimed_twice_fails(site: Any) -> None:
    for name in ("fake-eye", "fake-rival"):
        site.install_component(name, "encoder", "eye")
    findings = list(check_plugin(Subject(installed("fake-eye", site), None)))
    [conflict] = [finding for finding in findings if finding.point == "has a name of its own"]
    assert (conflict.subject, conflict.outcome) == ("encoder/eye", "failed")
    assert "fake-rival" in conflict.reason


def test_of_a_wheel_the_registration_is_checked_and_the_rest_skipped(site: Any) -> None:
    site.install_component("fake-eye", "encoder", "eye")
    findings = {
        (found.subject, found.point): found for found in check_plugin(Subject(installed("fake-eye", site), None))
    }
    outcomes = {key: finding.outcome for key, finding in findings.items()}
    assert outcomes["fake_eye_plugin", "entry module is light"] == "passed"
    assert outcomes["encoder/eye", "record leads to the classes"] == "failed"
    assert "`type` of fake_parts:Config is" in findings["encoder/eye", "record leads to the classes"].reason
    assert outcomes["fake-eye:main", "keeps the rest of the contract"] == "skipped"


def test_a_check_is_one_finding_whatever_the_settings() -> None:
    def record(point: str, settings: str, outcome: Any, reason: str = "") -> Record:
        return Record("encoder/eye", point, settings, outcome, reason, "fix it")

    records = [
        record("devices", "a=1", "passed"),
        record("batch_equals_items_alone", "a=1", "passed"),
        record("devices", "a=2", "skipped", "SkipTest: no GPU"),
        record("batch_equals_items_alone", "a=2", "failed", "leaks"),
        record("batch_equals_items_alone", "a=3", "failed", "leaks"),
        record("outputs_are_finite", "a=1", "passed"),
    ]
    assert list(check._merged(records)) == [
        Finding("encoder/eye", "devices", "skipped", "with a=2: SkipTest: no GPU", "fix it"),
        Finding("encoder/eye", "batch equals items alone", "failed", "with a=2: leaks", "fix it"),
        Finding("encoder/eye", "outputs are finite", "passed", "", "fix it"),
    ]


def test_tests_that_cannot_run_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import no_such_module_anywhere")
    with pytest.raises(PluginError, match="no_such_module_anywhere"):
        check._run_tests(tmp_path)


def test_a_test_module_that_cannot_be_imported_fails(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import no_such_module_anywhere")
    [record] = check._run_tests(tmp_path)
    assert (record.outcome, record.point) == ("failed", "can be imported")
    assert "no_such_module_anywhere" in record.reason


def test_the_source_folder_of_an_editable_installation_is_found(site: Any, tmp_path: Path) -> None:
    site.install_component("fake-eye", "encoder", "eye")
    assert find_subject("fake-eye").sources is None
    origin = {"url": (tmp_path / "my sources").as_uri(), "dir_info": {"editable": True}}
    (site.folder / "fake_eye-1.0.dist-info/direct_url.json").write_text(json.dumps(origin))
    assert find_subject("Fake_Eye").sources is None
    (tmp_path / "my sources").mkdir()
    assert find_subject("Fake_Eye").sources == tmp_path / "my sources"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not the folder of a distribution"),
        ("[project", "is not the folder of a distribution"),
        ("[tool.other]", "is not the folder of a distribution"),
        ("[project]\nname = 'fake-absent'", "fake-absent, whose sources are in"),
    ],
)
def test_a_folder_without_an_installed_distribution_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(PluginError, match=message) as raised:
        find_subject(str(tmp_path))
    assert raised.value.hint


def test_a_distribution_that_is_no_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="pytest has no entry point in the group modrwkv"):
        list(check_plugin(find_subject("pytest")))
    result = CliRunner().invoke(plugins, ["check", "no-such-distribution"])
    assert isinstance(result.exception, PluginError)
    assert "neither a folder nor an installed distribution" in str(result.exception)


def test_remedies_are_read_from_docstrings() -> None:
    assert remedy(EncoderContract.test_batch_equals_items_alone).startswith("mask padding wherever positions mix")
    assert remedy(len) == ""
