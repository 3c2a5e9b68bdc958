"""Whether the processes of a run were started with the same things."""

from __future__ import annotations

from pathlib import Path

from modrwkv_core.errors import ManifestError
from modrwkv_core.manifest.load import dump_manifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.world import PeerError

__all__ = ["check_peers", "check_sharding"]


def check_peers(context: RunContext, checkpoint: Path | None) -> None:
    """Compare manifest, versions, plugins, data and checkpoint of all processes.

    Raises:
        PeerError: One differs from the first; names it and what differs.
    """
    lock = make_lock(context.loaded, weights={}, kernels=context.model.backbone.kernels())
    sources = {phase.name: [len(source) for source in context.sources(phase)] for phase in context.manifest.phases}
    own = {
        "manifest": dump_manifest(context.manifest),
        **{f"{key} (lock.json)": value for key, value in lock.items()},
        "numbers of records": sources,
        "newest checkpoint": None if checkpoint is None else checkpoint.name,
    }
    first, *others = context.world.gather(own)
    for rank, other in enumerate(others, start=1):
        different = [key for key in first if first[key] != other[key]]
        if different:
            what = " and ".join(different)
            raise PeerError(
                f"process {rank} of {context.world.size} was started with another {what} than the first",
                hint="install the same versions and give the same manifest, data and run folder on all machines",
            )


def check_sharding(context: RunContext) -> None:
    """Refuse what cannot be sharded.

    Raises:
        ManifestError: A phase adds parameters to a model in shards.
    """
    if context.world.size == 1 or context.manifest.parallel.strategy != "shard":
        return
    for phase in context.manifest.phases:
        if phase.finetuning.type != "full":
            raise ManifestError(
                f"phase {phase.name} uses finetuning {phase.finetuning.type}, which a model in shards cannot take",
                component="parallel.strategy",
                hint="use `strategy: replicate`; such a phase has a small optimizer state",
            )
