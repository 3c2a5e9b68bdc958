"""The contract of presets."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.plugin import PLUGIN_API, PresetSpec
from modrwkv_core.testing.registration import PluginContract, installed

__all__ = ["PresetContract"]


class PresetContract(PluginContract):
    """A preset; a subclass sets ``plugin`` and ``name``, and adds what the preset leaves open.

    Attributes:
        name: The word after ``extends:``.
        manifest: The keys of a manifest that extends the preset.
    """

    kind: ClassVar = "preset"

    name: ClassVar[str]
    manifest: ClassVar[dict[str, Any]] = {"modrwkv": 1, "name": "extended"}

    def test_record_leads_to_a_file(self) -> None:
        """The record has a summary and the API's number, and names a file that the distribution ships.

        Remedy: let ``resource`` of the ``PresetSpec`` name it, ``"package:path/inside/package.yaml"``.
        """
        specs: list[PresetSpec] = [
            spec for spec in import_module(self.plugin).modrwkv_presets() if spec.name == self.name
        ]
        assert len(specs) == 1, f"{self.plugin} registers the preset {self.name!r} {len(specs)} times, not once"
        assert specs[0].summary, f"{self.name} has no summary for listings"
        assert specs[0].api == PLUGIN_API, f"{self.name} is written for API {specs[0].api}, this core has {PLUGIN_API}"
        try:
            text = installed().preset_text(self.name)
        except ModRWKVError as error:
            raise AssertionError(f"{self.name} cannot be read: {error}") from error
        assert text.strip(), f"{specs[0].resource} is empty"

    def test_a_manifest_can_extend_it(self, tmp_path: Path) -> None:
        """A manifest that extends the preset and adds :attr:`manifest` is valid.

        Remedy: mend the preset, or add to ``manifest`` what it leaves to its users.
        """
        path = tmp_path / "manifest.yaml"
        path.write_text(json.dumps({**self.manifest, "extends": self.name}), encoding="utf-8")
        try:
            loaded = load_manifest(path, registry=installed(), environ={})
        except ModRWKVError as error:
            raise AssertionError(f"a manifest that extends {self.name} is not valid: {error}") from error
        used = [place for place in loaded.provenance.values() if place.startswith(f"preset {self.name}")]
        assert used, f"the manifest of {type(self).__name__} overrides all that the preset {self.name} says"
