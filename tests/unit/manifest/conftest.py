"""A registry of toy components, and a manifest that names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, model_validator

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.config import (
    AdapterConfig,
    AugmentationConfig,
    BackboneConfig,
    CompressorConfig,
    EncoderConfig,
    FinetuningConfig,
    MetricConfig,
    Metrics,
    OptimizerConfig,
    QueryHeadConfig,
    SchedulerConfig,
    SourceConfig,
    TaskConfig,
    TokenHeadConfig,
    TokenizerConfig,
)
from modrwkv_core.interfaces.paths import CheckpointReference, DataPath, ManifestPath
from modrwkv_core.manifest import LoadedManifest, load_manifest
from modrwkv_core.plugin import ComponentSpec, Kind, ModalitySpec, PresetSpec
from modrwkv_core.registry import Registry
from modrwkv_core.registry.lifecycle import LifecycleHooks
from modrwkv_core.registry.records import Plugin


class EyeConfig(EncoderConfig):
    type: Literal["eye"] = "eye"
    hidden_size: int = Field(default=8, ge=1)
    patches: int = 576
    checkpoint: CheckpointReference | None = None

    @property
    def typical_length(self) -> int:
        return self.patches

    @property
    def out_dim(self) -> int:
        return self.hidden_size

    def out_length(self, length: int) -> int:
        return length


class EarConfig(EncoderConfig):
    type: Literal["ear"] = "ear"
    rate: int = 16000

    @property
    def out_dim(self) -> int:
        return 12

    def out_length(self, length: int) -> int:
        return length // 320

    @model_validator(mode="after")
    def _has_rate(self) -> EarConfig:
        if self.rate != 16000:
            raise ComponentError(f"hears at 16000 samples/s, not {self.rate}", component="encoder/ear", hint="16000")
        return self


class PoolConfig(CompressorConfig):
    type: Literal["pool"] = "pool"
    size: int = 2

    def out_length(self, length: int) -> int:
        return length // self.size


class ScrewConfig(AdapterConfig):
    type: Literal["screw"] = "screw"
    turns: float = 1.0


class GlueConfig(AdapterConfig):
    type: Literal["glue"] = "glue"
    brand: str = "any"


class BackboneConfig(BackboneConfig):
    type: Literal["backbone"] = "backbone"
    hidden_size: int = 16
    rows: int | None = None
    depth: int | None = None
    weights: ManifestPath | None = None

    def resolved(self) -> BackboneConfig:
        return self.model_copy(update={"depth": self.depth or 2})

    @property
    def in_dim(self) -> int:
        if self.hidden_size < 1:
            raise ComponentError(f"a backbone cannot be {self.hidden_size} wide", hint="give a positive width")
        return self.hidden_size

    @property
    def fixed_vocab_size(self) -> int | None:
        return self.rows


class WordsConfig(TokenizerConfig):
    type: Literal["world"] = "world"

    @property
    def vocab_size(self) -> int:
        return 100


class TalkConfig(TokenHeadConfig):
    type: Literal["lm"] = "lm"


class AskConfig(QueryHeadConfig):
    type: Literal["ask"] = "ask"
    modality: str = "audio"


class FilesConfig(SourceConfig):
    source: Literal["files"] = "files"
    path: DataPath


class NumbersConfig(SourceConfig):
    source: Literal["numbers"] = "numbers"
    count: int = 3


class GradeConfig(MetricConfig):
    type: Literal["grade"] = "grade"


class ExamConfig(TaskConfig):
    type: Literal["exam"] = "exam"
    metrics: Metrics = (GradeConfig(),)


class PlainOptimizerConfig(OptimizerConfig):
    type: Literal["adamw"] = "adamw"


class PlainSchedulerConfig(SchedulerConfig):
    type: Literal["cosine"] = "cosine"


class PlainFinetuningConfig(FinetuningConfig):
    type: Literal["full"] = "full"


class BlurConfig(AugmentationConfig):
    type: Literal["blur"] = "blur"
    strength: float = 1.0


class MaskConfig(AugmentationConfig):
    type: Literal["mask"] = "mask"


def component(kind: Kind, name: str, config: type, **fields: Any) -> ComponentSpec:
    return ComponentSpec(
        api=1,
        kind=kind,
        name=name,
        summary=f"a toy {kind}",
        config=f"{__name__}:{config.__name__}",
        implementation="toys:Unused",
        **fields,
    )


def encoder(name: str, config: type, modality: str) -> ComponentSpec:
    return component("encoder", name, config, modality=modality, processor="toys:Unused")


TOYS = Plugin(
    name="toys:toys",
    distribution="toys",
    version="1.2",
    location="/toys",
    components=(
        encoder("eye", EyeConfig, "image"),
        encoder("ear", EarConfig, "audio"),
        component("compressor", "pool", PoolConfig),
        component("adapter", "screw", ScrewConfig, aliases=("bolt",)),
        component("adapter", "glue", GlueConfig),
        component("backbone", "backbone", BackboneConfig),
        component("tokenizer", "world", WordsConfig),
        component("head", "lm", TalkConfig),
        component("head", "ask", AskConfig),
        component("source", "files", FilesConfig),
        component("source", "numbers", NumbersConfig),
        component("task", "exam", ExamConfig),
        component("optimizer", "adamw", PlainOptimizerConfig),
        component("scheduler", "cosine", PlainSchedulerConfig),
        component("finetuning", "full", PlainFinetuningConfig),
        component("metric", "grade", GradeConfig),
        component("augmentation", "blur", BlurConfig, modality="image"),
        component("augmentation", "mask", MaskConfig),
    ),
    modalities=tuple(
        ModalitySpec(api=1, name=name, summary="toy signals", implementation="toys:Unused")
        for name in ("image", "audio")
    ),
    presets=(
        PresetSpec(api=1, name="absent", summary="a preset without its file", resource="modrwkv_core:no/such.yaml"),
    ),
)
RIVALS = Plugin(
    name="rivals:rivals",
    distribution="rivals",
    version="3.0",
    location="/rivals",
    components=(encoder("eye", EyeConfig, "image"),),
)
BROKEN = Plugin(
    name="broken:broken",
    distribution="broken",
    version="0.1",
    location="/broken",
    state="failed",
    error="Traceback ...",
    cause=ImportError("no libbroken"),
    components=(encoder("cracked", EyeConfig, "image"),),
)

TEXT = """\
modrwkv: 1
name: toy
backbone: {type: backbone, hidden_size: 16}
modalities:
  image:
    encoder: {type: eye, hidden_size: 8}
    compressor: {type: pool, size: 2}
    adapter: {type: screw}
  audio:
    encoder: {type: ear}
    adapter: {type: glue, brand: uhu}
data:
  train:
    - {source: files, path: talks.jsonl}
phases:
  - name: align
    train: [compressor, adapter]
    lr: 1e-3
    epochs: 1
  - name: finetune
    train: [compressor, adapter, backbone]
    lr: 2.0e-5
    steps: 40
evaluation:
  sums:
    task: {type: exam}
    data: {source: numbers}
"""


def registry_of(*plugins: Plugin, prefer: Mapping[str, str] | None = None) -> Registry:
    return Registry(plugins, LifecycleHooks(None), prefer or {})


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def toys() -> Registry:
    return registry_of(TOYS)


@pytest.fixture
def discovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let discovery find toys, their rivals and something broken."""

    def discover(
        *, allow: object = None, disable: tuple[str, ...] = (), prefer: Mapping[str, str], locked: object = None
    ) -> Registry:
        plugins = [plugin for plugin in (TOYS, RIVALS, BROKEN) if plugin.distribution not in disable]
        return registry_of(*plugins, prefer=prefer)

    monkeypatch.setattr("modrwkv_core.manifest.load.discover", discover)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file into the working directory; return its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str = TEXT, name: str = "toy.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def load(write: Callable[..., Path], toys: Registry) -> Callable[..., LoadedManifest]:
    """Load the toy manifest, or another text, with overrides."""

    def load(*overrides: str, text: str = TEXT, environ: Mapping[str, str] | None = None) -> LoadedManifest:
        return load_manifest(write(text), overrides, registry=toys, environ=environ or {})

    return load
