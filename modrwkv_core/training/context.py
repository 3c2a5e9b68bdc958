"""What the phases of a run share: its manifest and folder, the model, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from modrwkv_core.data.batching import Share
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.feature_cache import FeatureCache
from modrwkv_core.data.loading import Loader
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.manifest.schema import Phase
from modrwkv_core.model.assemble import assemble, conversation_encoder, open_source
from modrwkv_core.model.augmenting import add_augmentations
from modrwkv_core.model.embedder import MediaEmbedder
from modrwkv_core.model.feature_cache import cache_key
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.interrupts import Interrupts
from modrwkv_core.training.record_lengths import RecordLengths
from modrwkv_core.training.sharding import ShardedModel
from modrwkv_core.training.skipped import append_skipped
from modrwkv_core.training.world import World

__all__ = ["RunContext"]


class RunContext:
    """A run in progress.

    Args:
        loaded: The manifest.
        folder: The run's files.
        world: The processes that train together.
        progress_bar: Whether to draw progress bars.
        pretrained: Whether the model loads the pretrained weights that its components name.

    Attributes:
        manifest: The resolved manifest.
        model: The model.
        train: The sources of ``data.train``.
        valid: The sources of ``data.valid``.
        interrupts: Signals that came.
        methods: The fine-tuning methods of the parts that have learned.
        sharded: The model in shards; None if each device holds the whole of it.
        step: Optimizer steps since the run's beginning.
        lengths: Of the records of sources.

    Raises:
        DataError: A source is missing or broken.
    """

    def __init__(
        self, loaded: LoadedManifest, folder: RunFolder, world: World, progress_bar: bool, *, pretrained: bool
    ) -> None:
        self.loaded = loaded
        self.manifest = loaded.manifest.resolved()
        self.folder = folder
        self.world = world
        self.device = world.device
        self.progress_bar = progress_bar and world.is_main
        self.hook = loaded.registry.hook
        self.interrupts = Interrupts()
        self.methods: dict[str, FinetuningMethod[Any]] = {}
        self.sharded: ShardedModel | None = None
        self.step = 0
        # All data are opened before the first step: a missing file must not cost the phases before it.
        self.train = self._open(self.manifest.data.train)
        self.valid = self._open(self.manifest.data.valid)
        self._of_phases = {phase.name: self._open(phase.data) for phase in self.manifest.phases if phase.data}
        torch.manual_seed(self.manifest.seed)
        self.model = assemble(loaded, pretrained=pretrained)
        self._augmenters = add_augmentations(loaded, self.model)
        self._caches: dict[str, FeatureCache] = {}
        self.lengths = RecordLengths(self.loaded, self.world, progress_bar=self.progress_bar)

    def place(self) -> None:
        """Move the model, equal on all processes, to its device or devices."""
        self.model.to(self.device)
        self.world.broadcast(self.model)
        if self.world.size > 1 and self.manifest.parallel.strategy == "shard":
            trained = {part for phase in self.manifest.phases for part in self.manifest.select(phase.train)}
            self.sharded = ShardedModel(self.model, self.world, trained)

    def _open(self, configs: Sequence[SourceConfig]) -> list[Source[Any]]:
        return [open_source(self.loaded, config) for config in configs]

    def sources(self, phase: Phase) -> list[Source[Any]]:
        """Return the data that ``phase`` learns from."""
        return self._of_phases.get(phase.name, self.train)

    def measure(self, phase: Phase, sources: Sequence[Source[Any]]) -> None:
        """Measure the lengths of records if ``phase`` bounds tokens. All processes call this together.

        Raises:
            DataError: A record is broken, or longer than a batch may be.
            PeerError: Another process failed.
        """
        if self._bounds_tokens(phase):
            limit = self.manifest.longest_conversation(phase)
            for source in sources:
                self.lengths.add(source, self.encoder(None), limit)

    def loader(self, phase: Phase, sources: list[Source[Any]], workers: int | None = None) -> Loader:
        """Return the batches of ``sources``, by as many workers as the manifest says unless told otherwise."""
        data, parallel = self.manifest.data, self.manifest.parallel
        batch_size, max_tokens = self.manifest.batch_limits(phase)
        limits = parallel.micro_batch_size, parallel.max_tokens_per_micro_batch
        return Loader(
            sources,
            self.encoder(self.manifest.longest_conversation(phase)),
            batch_size=batch_size,
            max_tokens_per_batch=max_tokens,
            lengths=[self.lengths.of(source) for source in sources] if self._bounds_tokens(phase) else None,
            seed=self.manifest.seed,
            share=Share(self.world.rank, self.world.size, *limits),
            phase="" if sources is self.valid else phase.name,
            workers=data.workers if workers is None else workers,
            pin_memory=self.device.type == "cuda",
            on_error=data.on_error,
            augment=phase.augment and sources is not self.valid,
        )

    def encoder(self, max_tokens: int | None) -> ConversationEncoder:
        """Return what makes samples of records."""
        return conversation_encoder(self.model, max_tokens, self._augmenters, self._caches)

    def open_caches(self, phase: Phase) -> None:
        """Let the encoders that ``phase`` does not train keep their features. All processes call this together."""
        section = self.manifest.data.feature_cache
        trained = self.manifest.select(phase.train)
        self._caches = {}
        for name, embedder in self.model.embedders.items():
            assert isinstance(embedder, MediaEmbedder)
            if section is not None and f"{name}.encoder" not in trained:
                key = cache_key(
                    self.manifest.modalities[name],
                    embedder.encoder,
                    make_lock(self.loaded),
                    precision=phase.precision,
                    device=self.device,
                )
                self._caches[name] = FeatureCache(section.path, section.max_bytes, key)
            embedder.cache = self._caches.get(name)

    def _bounds_tokens(self, phase: Phase) -> bool:
        _, max_tokens = self.manifest.batch_limits(phase)
        return max_tokens is not None or self.manifest.parallel.max_tokens_per_micro_batch is not None

    def note_skipped(self, phase: str, loader: Loader) -> None:
        """Name the broken records that all processes have left out. All processes call this together."""
        records = [record for own in self.world.gather(loader.take_skipped()) for record in own]
        if records and self.world.is_main:
            append_skipped(self.folder.path, self.step, phase, records)

    def announce(self, phase: Phase, metrics: dict[str, float]) -> None:
        """Tell plugins of metrics."""
        if self.world.is_main:
            values = {"phase": phase.name, **metrics}
            self.hook.modrwkv_metrics(run=self.folder.path, step=self.step, metrics=values)
