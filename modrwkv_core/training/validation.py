"""The loss on held-out data."""

from __future__ import annotations

import torch
from tqdm import tqdm

from modrwkv_core.data.loading import Loader
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.interrupts import Interrupts
from modrwkv_core.training.prefetch import batches_on

__all__ = ["validate"]


def validate(
    model: MultimodalModel, loader: Loader, interrupts: Interrupts, *, name: str, progress_bar: bool
) -> dict[str, float]:
    """Return the mean loss of each head over the batches of ``loader``, as ``valid/<head>``.

    Args:
        model: Its parts are in the modes afterwards that they were in before.
        loader: Held-out data.
        interrupts: Checked before each batch.
        name: Of the phase, for the progress bar.
        progress_bar: Whether to draw one.

    Raises:
        DataError: A record is broken.
        TrainingInterruptedError: A signal came.
    """
    losses: dict[str, list[float]] = {}
    training = {part: part.training for part in model.parts().values()}
    model.eval()
    bar = tqdm(
        batches_on(model.device, loader.batches(0)),
        total=loader.batches_per_epoch(0),
        desc=f"{name}: validation",
        unit="batch",
        disable=not progress_bar,
        dynamic_ncols=True,
    )
    with torch.no_grad():
        for batch in bar:
            interrupts.check()
            for head, loss in model.losses(batch).items() if batch is not None else ():
                losses.setdefault(head, []).append(float(loss))
    for part, mode in training.items():
        part.train(mode)
    metrics = {f"valid/{head}": sum(values) / len(values) for head, values in losses.items()}
    return metrics | ({"valid/skipped_records": float(loader.skipped)} if loader.skipped else {})
