"""From a manifest to a model: the place where configuration becomes modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from modrwkv_core.data.augmenting import SignalAugmenter
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.feature_cache import FeatureCache
from modrwkv_core.data.templates import TEMPLATES
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Backbone, Component, Head, QueryHead, TokenHead, TranscriptHead
from modrwkv_core.interfaces.config import HeadConfig, QueryHeadConfig, TokenHeadConfig, TranscriptHeadConfig
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.record import Record
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.tokenizer import Tokenizer
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.build import build, build_encoder, build_modality, build_processor
from modrwkv_core.model.embedder import MediaEmbedder
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["assemble", "build_backbone", "conversation_encoder", "open_source"]

VOCAB_MULTIPLE = 64
_SAMPLED_IDS: Final = 4096
"""Ids whose embeddings stand for all: enough for a mean and a standard deviation."""


def assemble(loaded: LoadedManifest, *, pretrained: bool) -> MultimodalModel:
    """Build the model of a manifest.

    Args:
        loaded: A manifest that passed the wiring check.
        pretrained: Whether to load the pretrained weights that components name; False when a checkpoint of a run is
            about to fill all parts.

    Raises:
        PluginError: A component cannot be imported.
        CheckpointError: Pretrained weights are missing or do not fit.
    """
    manifest, registry = loaded.manifest, loaded.registry
    tokenizer: Tokenizer = build(registry, "tokenizer", manifest.tokenizer.type, manifest.tokenizer)
    backbone = build_backbone(loaded, tokenizer.vocab_size)
    embedders = {}
    for name, section in manifest.modalities.items():
        encoder = build_encoder(registry, section.encoder)
        dim = section.encoder.out_dim
        compressor = None
        if section.compressor is not None:
            compressor = build(registry, "compressor", section.compressor.type, section.compressor, dim)
            dim = section.compressor.out_dim(dim)
        adapter = build(registry, "adapter", section.adapter.type, section.adapter, dim, backbone.hidden_size)
        embedders[name] = MediaEmbedder(encoder, compressor, adapter)
    heads = {name: _head(loaded, config, backbone) for name, config in manifest.heads.items()}
    template = TEMPLATES[manifest.chat_template]
    model = MultimodalModel(tokenizer, backbone, embedders, heads, _preprocessors(loaded), template)
    if pretrained:
        for part in model.parts().values():
            assert isinstance(part, Component)
            with guard(part.origin, "load_pretrained()"):
                part.load_pretrained()
        _match_embeddings(model)
    return model


@torch.no_grad()
def _match_embeddings(model: MultimodalModel) -> None:
    """Tell fresh adapters where text embeddings lie."""
    ids = torch.linspace(0, model.tokenizer.vocab_size - 1, min(model.tokenizer.vocab_size, _SAMPLED_IDS)).long()
    with guard(model.backbone.origin, "embed()"):
        embeddings_VD = model.backbone.embed(ids[None])[0]
    std_D, mean_D = torch.std_mean(embeddings_VD, dim=0)
    for embedder in model.embedders.values():
        assert isinstance(embedder, MediaEmbedder)
        with guard(embedder.adapter.origin, "match_embeddings()"):
            embedder.adapter.match_embeddings(mean_D, std_D)


def build_backbone(loaded: LoadedManifest, num_ids: int) -> Backbone[Any]:
    """Build the backbone of a manifest for a tokenizer of ``num_ids`` ids, with fresh weights."""
    config = loaded.manifest.backbone
    vocab_size = config.fixed_vocab_size or -(-num_ids // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
    backbone: Backbone[Any] = build(loaded.registry, "backbone", config.type, config, vocab_size)
    return backbone


def _head(loaded: LoadedManifest, config: HeadConfig, backbone: Backbone[Any]) -> Head[Any]:
    head = build(loaded.registry, "head", config.type, config, backbone)
    kinds = ((TokenHeadConfig, TokenHead), (QueryHeadConfig, QueryHead), (TranscriptHeadConfig, TranscriptHead))
    for base, interface in kinds:
        if isinstance(config, base) and isinstance(head, interface):
            return head
    raise ComponentError(
        f"{type(head).__name__} with {type(config).__name__} is not a head",
        component=f"head/{config.type}",
        distribution=loaded.components["head", config.type].distribution,
        hint="derive it from TokenHead with a TokenHeadConfig, from QueryHead with a QueryHeadConfig, or from "
        "TranscriptHead with a TranscriptHeadConfig",
    )


def _preprocessors(loaded: LoadedManifest) -> dict[str, MediaPreprocessor]:
    registry = loaded.registry
    return {
        name: MediaPreprocessor(
            name=name,
            modality=build_modality(registry, name),
            processor=build_processor(registry, section.encoder),
            encoder=section.encoder,
            compressor=section.compressor,
            adapter=section.adapter,
            origins={kind: registry.component(kind, config.type).origin for kind, config in section.components()},
        )
        for name, section in loaded.manifest.modalities.items()
    }


def conversation_encoder(
    model: MultimodalModel,
    max_tokens: int | None,
    augmenters: Mapping[str, SignalAugmenter] | None = None,
    caches: Mapping[str, FeatureCache] | None = None,
) -> ConversationEncoder:
    """Return the picklable object that tokenizes conversations for ``model``.

    ``augmenters`` and ``caches``, those of the model's embedders, are for training.
    """
    heads = model.token_heads() | model.query_heads() | model.transcript_heads()
    return ConversationEncoder(
        model.tokenizer,
        model.preprocessors,
        {name: head.config for name, head in heads.items()},
        max_tokens,
        {name: head.origin for name, head in heads.items()},
        augmenters,
        caches,
        model.template,
    )


def open_source(loaded: LoadedManifest, config: Any) -> Source[Any]:
    """Open the data source of a ``source:`` section.

    Raises:
        DataError: Its files are missing or broken.
    """
    source: Source[Any] = build(loaded.registry, "source", config.source, config)
    return GuardedSource(source)


class GuardedSource(Source[Any]):
    """A source whose failures name the plugin that provides it. Picklable.

    Args:
        source: What is asked.
    """

    def __init__(self, source: Source[Any]) -> None:
        super().__init__(source.config)
        self.source = source

    def __len__(self) -> int:
        """Return the number of records."""
        with guard(self.source.origin, "len()"):
            return len(self.source)

    def __getitem__(self, index: int) -> Record:
        """Return one record.

        Raises:
            DataError: The record is broken.
            PluginError: The source failed.
            ComponentError: It returned something else than a record.
        """
        origin = self.source.origin
        with guard(origin, f"record {index}"):
            record = self.source[index]
        if not isinstance(record, Record):
            raise ComponentError(
                f"record {index} is a {type(record).__name__}, not a Record",
                component=origin.component if origin else None,
                distribution=origin.distribution if origin else None,
            )
        return record
