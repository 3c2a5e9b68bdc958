"""A pretrained checkpoint as a run: the manifest names the encoder, the checkpoint brings all the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.errors import CheckpointError, ManifestError, WriteError
from modrwkv_core.interfaces.component import Component, Encoder
from modrwkv_core.interfaces.pretrained import (
    checkpoint_file,
    checkpoint_json,
    load_strictly,
    load_tensors,
    weight_files,
)
from modrwkv_core.interop.worldrwkv import WorldRWKVCheckpoint, split_checkpoint
from modrwkv_core.manifest.document import read_document
from modrwkv_core.manifest.load import LoadedManifest, load_manifest
from modrwkv_core.manifest.wiring import check_wiring
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.new_run import write_new_run
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.files import sha256
from modrwkv_core.storage.tensors import write_tensors

__all__ = ["import_run"]


def import_run(source: str, manifest: Path, run: Path, *, modality: str | None = None) -> LoadedManifest:
    """Make a run of a checkpoint of ModRWKV's authors: it answers, is evaluated, and is trained on by its phases.

    Args:
        source: A ``.pth`` or ``.safetensors`` file, a folder in the layout of the Hub, or a model id of the Hub.
        manifest: Names the encoder, and what to train on. Its backbone and the adapter and compressor of the modality
            become those of the checkpoint.
        run: The folder of the run, which must not exist.
        modality: The one that the checkpoint was trained with; None if the manifest has no other.

    Returns:
        The manifest of the run.

    Raises:
        CheckpointError: The checkpoint is not one of the authors', or does not fit the encoder; ``run`` exists.
        ManifestError: The manifest is not valid or has several modalities.
        WiringError: The parts do not fit.
    """
    if run.exists():
        raise CheckpointError(f"{run} already exists", hint="choose another folder, or remove this one")
    tensors = load_tensors(source)
    found = split_checkpoint(tensors, _config(source), source)
    folder = RunFolder(run)
    modality = modality or _only_modality(manifest)
    loaded = load_manifest(manifest, _sections(found, modality, folder))
    encoder = loaded.manifest.modalities[modality].encoder
    if encoder.out_dim != found.dim:
        raise CheckpointError(
            f"{source} reads features of dimension {found.dim}, but the encoder '{encoder.type}' of {manifest} has "
            f"{encoder.out_dim}",
            hint="name the encoder that the checkpoint was trained with",
        )
    check_wiring(loaded)
    torch.manual_seed(loaded.manifest.seed)
    model = assemble(loaded, pretrained=False)
    _fill(model, found, modality, source)
    try:
        write_new_run(folder, loaded, model, _hashes(source))
    except (CheckpointError, WriteError):
        shutil.rmtree(run, ignore_errors=True)
        raise
    return loaded


def _config(source: str) -> dict[str, Any] | None:
    if Path(source).is_file() or checkpoint_file(source, "config.json") is None:
        return None
    return checkpoint_json(source, "config.json")


def _only_modality(manifest: Path) -> str:
    document = read_document(manifest).plain()
    section = document.get("modalities") if isinstance(document, dict) else None
    names = list(section) if isinstance(section, dict) else []
    if len(names) != 1:
        raise ManifestError(
            f"{manifest} has {len(names)} modalities of its own{': ' if names else ''}{', '.join(names)}",
            hint="say with --modality which one the checkpoint was trained with; the manifest names its encoder",
        )
    return str(names[0])


def _sections(found: WorldRWKVCheckpoint, modality: str, folder: RunFolder) -> list[str]:
    """Return the sections that the checkpoint decides, as overrides of the manifest."""
    # The weights that the run itself will hold: a backbone that names weights is not initialized in vain.
    weights = (folder.checkpoint(0) / "backbone.safetensors").absolute()
    compressor = found.compressor
    sections = {
        "backbone": {"type": "rwkv7", "weights": str(weights), **asdict(found.sizes)},
        f"modalities.{modality}.compressor": None if compressor is None else compressor.section,
        f"modalities.{modality}.adapter": found.adapter.section,
    }
    return [f"{path}={json.dumps(section)}" for path, section in sections.items()]


def _fill(model: MultimodalModel, found: WorldRWKVCheckpoint, modality: str, source: str) -> None:
    given = {"backbone": found.backbone, f"{modality}.adapter": found.adapter.tensors}
    if found.compressor is not None:
        given[f"{modality}.compressor"] = found.compressor.tensors
    for name, part in model.parts().items():
        assert isinstance(part, Component)
        if name in given:
            load_strictly(part, given[name], f"{source} ({name})")
        elif name == f"{modality}.encoder" and found.encoder:
            assert isinstance(part, Encoder)
            _load_encoder(part, found.encoder, source)
        else:
            part.load_pretrained()


def _load_encoder(encoder: Encoder[Any], tensors: Mapping[str, Tensor], source: str) -> None:
    """Let the encoder read its tensors by its own names, as if they were a checkpoint of their own."""
    config = encoder.config
    if "checkpoint" not in type(config).model_fields:
        raise CheckpointError(
            f"{source} holds a trained encoder, but the encoder '{config.type}' reads no pretrained weights",
            hint="name the encoder that the checkpoint was trained with",
        )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        write_tensors(tensors, path)
        encoder.config = config.model_copy(update={"checkpoint": str(path)})
        try:
            encoder.load_pretrained()
        except CheckpointError as error:
            raise CheckpointError(
                f"the trained encoder of {source} is not that of the manifest: {error.message}",
                component=f"encoder/{config.type}",
                hint="name the encoder that the checkpoint was trained with",
            ) from error
        finally:
            encoder.config = config


def _hashes(source: str) -> dict[str, str]:
    return {f"imported/{path.name}": sha256(path) for path in weight_files(source)}
