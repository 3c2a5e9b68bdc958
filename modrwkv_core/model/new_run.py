"""A model that was assembled, not trained, as a run."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from modrwkv_core.manifest.load import LoadedManifest, dump_manifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.model.checkpoint import part_files
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import RngState, TrainState
from modrwkv_core.storage.files import write_json, write_text

__all__ = ["write_new_run"]


def write_new_run(
    folder: RunFolder, loaded: LoadedManifest, model: MultimodalModel, weights: Mapping[str, str]
) -> None:
    """Write a run that answers, and whose training can go on as if the first phase had just begun.

    Args:
        folder: Of the run.
        loaded: Its manifest.
        model: Its parts.
        weights: Hashes of the files that the weights come from, by name.

    Raises:
        CheckpointError: The disk is full or refuses.
        WriteError: Manifest or lock cannot be written.
    """
    manifest = loaded.manifest.resolved()
    torch.manual_seed(manifest.seed + 1)
    state = TrainState(
        step=0,
        phase=manifest.phases[0].name,
        phase_step=0,
        phase_done=False,
        validated=False,
        rng_states=(RngState(cpu=bytes(torch.get_rng_state().tolist()).hex()),),
    )
    write_text(folder.manifest, dump_manifest(manifest))
    write_json(folder.lock, make_lock(loaded, weights=weights, kernels=model.backbone.kernels()))
    folder.save(part_files(model, {}), state, {}, frozen_parts=())
