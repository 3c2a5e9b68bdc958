"""A kind is whole: nothing that belongs to one is forgotten for the next."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from modrwkv_core.authoring.check import CONTRACTS
from modrwkv_core.authoring.kinds import SCAFFOLDS
from modrwkv_core.authoring.scaffold import TEMPLATES
from modrwkv_core.plugin import KINDS
from modrwkv_core.registry.catalog import BASES
from modrwkv_core.testing.registration import ComponentContract

ROOT = Path(__file__).resolve().parents[3]
OTHERS = ("modality", "logger", "command", "preset")
"""What a plugin brings besides components."""
SORTS = {"transcript_head": "head"}
"""Scaffolds of a kind that has several, with the kind."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_bases_and_a_contract_about_them(kind: str) -> None:
    config, implementation = (getattr(import_module(module), name) for module, name in _split(BASES[kind]))  # type: ignore[index]
    contract = CONTRACTS[kind]
    assert issubclass(contract, ComponentContract)
    assert (contract.kind, contract.config_base, contract.interface) == (kind, config, implementation)


@pytest.mark.parametrize("scaffold", [*KINDS, *OTHERS, *SORTS])
def test_a_kind_has_a_scaffold_a_contract_and_a_row_in_the_docs(scaffold: str) -> None:
    kind = SCAFFOLDS[scaffold].kind or scaffold
    assert kind == SORTS.get(scaffold, scaffold)
    assert getattr(CONTRACTS[kind], "kind", None) == kind
    [test] = (TEMPLATES / scaffold / "tests").glob("*.jinja")
    assert f"({CONTRACTS[kind].__name__})" in test.read_text()
    assert f"| `{scaffold}` |" in (ROOT / "docs/how-to/write-a-plugin.md").read_text()


def test_nothing_else_is_offered() -> None:
    assert set(CONTRACTS) == {*KINDS, *OTHERS}
    assert set(SCAFFOLDS) == {*CONTRACTS, *SORTS}
    assert {path.name for path in TEMPLATES.iterdir()} == {*SCAFFOLDS, "common"}


def _split(references: tuple[str, str]) -> list[list[str]]:
    return [reference.split(":") for reference in references]
