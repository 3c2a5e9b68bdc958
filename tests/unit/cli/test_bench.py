"""``modrwkv bench`` at sizes that take no time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from modrwkv_core.cli.bench import bench

TINY = {
    "wkv7": ["--tokens", "16", "--heads", "1"],
    "layer": ["--size", "2x64", "--tokens", "8"],
    "train": ["--size", "2x64", "--batch", "1", "--tokens", "8", "--vocab", "40"],
    "prefill": ["--size", "2x64", "--tokens", "8", "--vocab", "40"],
    "decode": ["--size", "2x64", "--vocab", "40", "--rows", "1", "--rows", "2"],
}


@pytest.mark.parametrize("name", TINY)
def test_every_benchmark_measures_ours_and_names_its_rivals(name: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    options = ["--device", "cpu", "--threads", "1", "--seconds", "0", "--json", str(path)]
    result = CliRunner().invoke(bench, [name, *TINY[name], *options], catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads(path.read_text())
    assert report["benchmark"] == name
    assert report["machine"]["threads"] == 1
    assert report["rows"][0]["name"].startswith("ours")
    assert all(row["best_seconds"] > 0 and row["floor_seconds"] > 0 for row in report["rows"])
    rivals = {row["name"] for row in report["rows"] if not row["name"].startswith("ours")} | report["missing"].keys()
    expected = {"wkv7": {"flash-linear-attention"}, "prefill": {"rwkv (PyPI)", "Llama (transformers)"}}
    both = {"flash-linear-attention", "Llama (transformers)"}
    assert rivals == expected.get(name, both | ({"rwkv (PyPI)"} if name == "decode" else set()))
    for rival, reason in report["missing"].items():
        assert f"not measured: {rival}: {reason}" in result.stdout


def test_a_size_of_another_form_is_an_error() -> None:
    result = CliRunner().invoke(bench, ["decode", "--size", "large", "--device", "cpu"])
    assert "the size 'large' is not LAYERSxWIDTH" in str(result.exception)
