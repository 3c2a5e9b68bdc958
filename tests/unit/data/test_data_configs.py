from importlib import import_module
from pathlib import Path

import pytest
from pydantic import ValidationError

from modrwkv_core.builtin import modrwkv_components
from modrwkv_core.data.sources.config import ChatConfig
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.tokenizer import Tokenizer
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess

SPECS = [spec for spec in modrwkv_components() if spec.kind in ("tokenizer", "source")]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_records_lead_to_the_classes(spec: ComponentSpec) -> None:
    config, implementation = (
        getattr(import_module(module), name)
        for module, name in (spec.config.split(":"), spec.implementation.split(":"))
    )
    placeholder = "source" if spec.kind == "source" else "type"
    assert config.model_fields[placeholder].default == spec.name
    assert all(field.description for name, field in config.model_fields.items() if name not in ("source", "type"))
    assert issubclass(implementation, {"source": Source, "tokenizer": Tokenizer}[spec.kind])


@pytest.mark.parametrize("module", sorted({spec.config.partition(":")[0] for spec in SPECS}))
def test_configuration_never_loads_torch(module: str) -> None:
    assert not import_in_subprocess(module).packages & HEAVY


def test_paths_are_meant_from_the_data_root() -> None:
    config = ChatConfig.model_validate({"path": "a/b.jsonl", "media": "c.zip"}, context={"data_root": "/data"})
    assert (config.path, config.media) == (Path("/data/a/b.jsonl"), Path("/data/c.zip"))


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="pathh"):
        ChatConfig.model_validate({"path": "a", "pathh": "b"})
