"""Loading a trained run to ask it."""

from __future__ import annotations

from pathlib import Path

import torch

from modrwkv_core.inference.session import Session
from modrwkv_core.inference.weights import DTYPES, cast_weights
from modrwkv_core.interfaces.fresh_weights import weights_to_come
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.device import choose_device
from modrwkv_core.model.run import RunFolder, load_checkpoint, load_run_manifest

__all__ = ["load"]


def load(
    run: Path | str,
    *,
    checkpoint: str = "last",
    device: str | None = None,
    weights: str = "auto",
    state: Path | str | None = None,
) -> Session:
    """Load a checkpoint of a run.

    Args:
        run: The run's folder.
        checkpoint: ``last``, ``best`` (that of the best validation), or a step.
        device: Where to compute; by default a GPU if torch sees one.
        weights: How the backbone's weights are stored for answering. On a GPU ``float32`` or ``bfloat16``, in which
            prompts are read and answers are decoded; on the CPU as the backbone's decoder offers: for RWKV-7
            ``float32``, ``bfloat16`` or ``int8``. ``auto`` loses nothing: on a GPU it is float32, as in checkpoints.
        state: A file with the state of the backbone that every conversation begins with, as state tuning or
            :meth:`~modrwkv_core.inference.session.Session.prefill` makes one; by default the run's own.

    Raises:
        CheckpointError: The folder holds no such checkpoint, or it does not fit its manifest; the file is not a
            state.
        PluginError: A plugin that the run needs is missing or broken.
        ComponentError: The backbone's weights cannot be stored so on this device.
        ModRWKVError: There is no such device.
    """
    device = choose_device(device)
    folder = RunFolder(Path(run))
    path = folder.select(checkpoint)
    loaded = load_run_manifest(folder)
    with weights_to_come():
        model = assemble(loaded, pretrained=False)
    load_checkpoint(loaded, model.parts(), path, merge=True)
    if state is not None:
        backbone = model.backbone
        with guard(backbone.origin, "set_initial_state()"):
            backbone.set_initial_state(type(backbone.init_state(1)).load(Path(state)))
    if torch.device(device).type != "cpu" and weights in DTYPES:
        cast_weights(model, DTYPES[weights])  # here, so that the device need not hold them in float32
    return Session(loaded, model.to(device).eval(), folder.path, weights=weights)
