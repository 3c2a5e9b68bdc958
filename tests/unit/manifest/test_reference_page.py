from __future__ import annotations

import runpy
from pathlib import Path

from modrwkv_core.manifest.document import parse
from modrwkv_core.manifest.schema import Manifest

DOCS = Path(__file__).parents[3] / "docs" / "reference"


def test_the_tables_fit_the_code():
    tables = runpy.run_path(str(DOCS / "tables.py"))
    page = (DOCS / "manifest.md").read_text()
    assert tables["refresh"](page) == page, "run: python docs/reference/tables.py"
    assert all(f"| `{key}` |" in page for key in Manifest.model_fields)


def test_the_example_is_valid_yaml_with_known_keys():
    page = (DOCS / "manifest.md").read_text()
    example = parse(page.partition("```yaml\n")[2].partition("```")[0], "example").plain()
    assert set(example) <= set(Manifest.model_fields)
