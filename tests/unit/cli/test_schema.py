from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from modrwkv_core.cli.schema import schema
from modrwkv_core.errors import WriteError


def test_the_schema_fits_real_manifests(tiny_manifest):
    result = CliRunner().invoke(schema, catch_exceptions=False)
    assert result.exit_code == 0
    validator = jsonschema.Draft202012Validator(json.loads(result.output))
    manifest = yaml.safe_load(tiny_manifest().read_text())
    validator.validate(manifest)
    manifest["modalities"]["series"]["encoder"]["wdth"] = 3
    assert not validator.is_valid(manifest)


def test_it_is_written_to_a_file(tmp_path):
    path = tmp_path / "deep" / "manifest.schema.json"
    result = CliRunner().invoke(schema, ["-o", str(path)], catch_exceptions=False)
    assert result.output == f"wrote {path}\n"
    assert json.loads(path.read_text()) == json.loads(CliRunner().invoke(schema).output)


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(WriteError, match="it exists and is not a regular file"):
        CliRunner().invoke(schema, ["-o", str(tmp_path)], catch_exceptions=False)
