from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from modrwkv_core.cli.show import show
from modrwkv_core.manifest import load_manifest


@pytest.fixture
def run(tiny_manifest):
    path = tiny_manifest()

    def run(*arguments: str, environ: dict[str, str] | None = None) -> str:
        result = CliRunner().invoke(show, [str(path), *arguments], env=environ, catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    run.path = path
    return run


def comments(output: str) -> dict[str, str]:
    """The text of each line before its comment, and the comment."""
    return {line.partition("  # ")[0].strip(): line.partition("  # ")[2] for line in output.splitlines()}


def test_each_value_is_followed_by_its_origin(run):
    shown = comments(run("seed=5", "phases.align.lr=2e-3", environ={"MODRWKV__DATA__WORKERS": "2"}))
    lines = run.path.read_text().splitlines()
    assert shown["name: tiny"] == f"{run.path}:{lines.index('name: tiny') + 1}"
    assert shown["seed: 5"] == "command line"
    assert shown["lr: 0.002"] == "command line"
    assert shown["workers: 2"] == "environment variable MODRWKV__DATA__WORKERS"
    assert shown["precision: float32"] == "default"
    assert shown["valid: []"] == "default"
    assert shown["expansion: 1"] == f"{run.path}:{lines.index('      expansion: 1') + 1}"
    assert shown["encoder:"] == ""


def test_augmentations_are_listed_with_all_settings(run):
    shown = comments(run("modalities.series.augmentations=[{type: jitter, sigma: 0.2}, {type: feature_dropout}]"))
    assert shown["sigma: 0.2"] == "command line"
    assert shown["- type: feature_dropout"] == "command line"
    assert shown["rate: 0.1"] == "default"
    assert shown["augment: true"] == "default"


def test_what_is_shown_is_a_manifest_that_means_the_same(run, tmp_path):
    shown = tmp_path / "shown.yaml"
    shown.write_text(run("seed=5"))
    assert load_manifest(shown, environ={}).manifest == load_manifest(run.path, ["seed=5"], environ={}).manifest
    assert yaml.safe_load(shown.read_text())["seed"] == 5


def test_json_holds_values_and_origins(run):
    shown = json.loads(run("--json", "seed=5"))
    assert shown["manifest"]["seed"] == 5
    assert shown["manifest"]["modalities"]["series"]["encoder"]["type"] == "wavenet"
    assert shown["provenance"]["seed"] == "command line"
    assert "plugins" not in shown["provenance"]
