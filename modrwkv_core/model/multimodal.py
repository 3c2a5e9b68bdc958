"""The assembled model: embedders of all modalities, the backbone, the heads.

T = tokens of all packed conversations, S = conversations, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.data.batch import Batch, PlacedMedia
from modrwkv_core.data.templates import ChatTemplate
from modrwkv_core.interfaces.component import Backbone, Head, QueryHead, TokenHead, TranscriptHead
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.state import State
from modrwkv_core.interfaces.tokenizer import Tokenizer
from modrwkv_core.interfaces.values import Features
from modrwkv_core.model.embedder import MediaEmbedder
from modrwkv_core.model.splice import placed_features, splice, write_rows

__all__ = ["PREFILL_CHUNK", "MultimodalModel"]

PREFILL_CHUNK: Final = 4096
"""Tokens that the backbone reads at once when nothing but the state after them is needed."""


class MultimodalModel(nn.Module):
    """One recurrent language model with any number of senses.

    Args:
        tokenizer: Text to ids.
        backbone: The backbone.
        embedders: By modality.
        heads: By name. They are looked up by what supervises them: :meth:`token_heads`, :meth:`query_heads`,
            :meth:`transcript_heads`.
        preprocessors: By modality: decoding, processing and counting on the CPU.
        template: How turns of conversations become tokens.

    Attributes:
        on_splice: Called before each splice with the text embeddings ``[1, T, D]``, the features by modality, and the
            batch; the trainer sets it.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        backbone: Backbone[Any],
        embedders: Mapping[str, MediaEmbedder],
        heads: Mapping[str, Head[Any]],
        preprocessors: Mapping[str, MediaPreprocessor],
        template: ChatTemplate,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.template = template
        self.backbone = backbone
        self.embedders = nn.ModuleDict(dict(embedders))
        self.heads = nn.ModuleDict(dict(heads))
        self.preprocessors = dict(preprocessors)
        self.on_splice: Callable[[Tensor, Mapping[str, Features], Batch], None] | None = None

    @property
    def device(self) -> torch.device:
        """Where the backbone lies."""
        return next(self.backbone.parameters()).device

    def parts(self) -> dict[str, nn.Module]:
        """Return the components by name: ``backbone``, ``image.encoder``, ``heads.forecast``, ..."""
        parts: dict[str, nn.Module] = {"backbone": self.backbone}
        for name, embedder in self.embedders.items():
            parts |= {f"{name}.{kind}": component for kind, component in embedder.named_children()}
        return parts | {f"heads.{name}": head for name, head in self.heads.items()}

    def token_heads(self) -> dict[str, TokenHead[Any]]:
        """Return the heads that predict the next token, by name."""
        return {name: head for name, head in self.heads.items() if isinstance(head, TokenHead)}

    def query_heads(self) -> dict[str, QueryHead[Any]]:
        """Return the heads that answer queries, by name."""
        return {name: head for name, head in self.heads.items() if isinstance(head, QueryHead)}

    def transcript_heads(self) -> dict[str, TranscriptHead[Any]]:
        """Return the heads that transcribe media, by name."""
        return {name: head for name, head in self.heads.items() if isinstance(head, TranscriptHead)}

    def embed(self, batch: Batch) -> Tensor:
        """Embed the ids of a batch on the model's device and write the media over their placeholders: ``[1, T, D]``."""
        features = self.media_features(batch.media)
        text_1TD = self._embed_ids(batch.ids)
        if self.on_splice is not None:
            self.on_splice(text_1TD, features, batch)
        return splice(text_1TD, batch.media, batch.media_positions, features)

    def _embed_ids(self, ids: Tensor) -> Tensor:
        with guard(self.backbone.origin, "embed()"):
            return self.backbone.embed(ids)

    def media_features(self, media: Sequence[PlacedMedia]) -> dict[str, Features]:
        """Encode, compress and adapt media that are on the model's device: by modality, in their order."""
        features = {}
        for name, embedder in self.embedders.items():
            if chosen := [placed for placed in media if placed.modality == name]:
                items = [placed.item for placed in chosen]
                features[name] = embedder(items, [placed.seed for placed in chosen])
        return features

    def forward(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Read a packed batch; return hidden vectors ``[1, T, D]`` and the state of the conversations."""
        batch = batch.to(self.device)
        x = self.embed(batch)
        hidden: Tensor
        with guard(self.backbone.origin, "forward()"):
            hidden, state = self.backbone(x, state=state, cu_seqlens=batch.cu_seqlens)
        return hidden, state

    def prefill(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """Prefill a packed batch; return the last hidden vector ``[B, D]`` and the state of each conversation.

        Of a long batch, conversations that fit together into a chunk are read together, and longer ones chunk by chunk,
        so that memory does not grow with its length.

        Args:
            batch: B conversations, or the next segments of them.
            state: What the segments before left, of batch size B; None begins anew.
        """
        batch = batch.to(self.device)
        if batch.ids.shape[1] <= PREFILL_CHUNK:
            x = self.embed(batch)
            with guard(self.backbone.origin, "prefill()"):
                return self.backbone.prefill(x, state=state, cu_seqlens=batch.cu_seqlens)
        index_N, rows_ND = placed_features(batch.media, batch.media_positions, self.media_features(batch.media))
        last: list[Tensor] = []
        states: list[State] = []
        assert batch.cu_seqlens.host is not None, "batches are made on the host"
        offsets = batch.cu_seqlens.host.tolist()
        for group in _groups(batch.cu_seqlens.lengths):
            begin, end = offsets[group.start], offsets[group.stop]
            packing = None
            if len(group) > 1:
                packing = CuSeqlens.of([offset - begin for offset in offsets[group.start : group.stop + 1]])
            after = None if state is None else state.select(group)
            for start in range(begin, end, PREFILL_CHUNK):
                stop = min(start + PREFILL_CHUNK, end)
                chosen_N = (index_N >= start) & (index_N < stop)
                rows = None if rows_ND is None else rows_ND[chosen_N]
                index = index_N[chosen_N] - start
                hidden_SD, after = self.prefill_chunk(batch.ids[:, start:stop], index, rows, after, packing)
            assert after is not None, "no conversation is empty"
            last.append(hidden_SD)
            states.append(after)
        return torch.cat(last), type(states[0]).stack(states)

    def prefill_chunk(
        self,
        ids_1T: Tensor,
        index_N: Tensor,
        rows_ND: Tensor | None,
        state: State | None,
        cu_seqlens: CuSeqlens | None = None,
    ) -> tuple[Tensor, State]:
        """Prefill a part of one conversation, or several conversations.

        Args:
            ids_1T: Their ids ``[1, T]``.
            index_N: Positions among them at which features of media stand, ``[N]``.
            rows_ND: These features, ``[N, hidden_size]``; None if there are none.
            state: What was read before; None begins anew.
            cu_seqlens: Where each conversation lies; None if there is one.

        Returns:
            The last hidden vector of each ``[S, D]``, and the state after it.
        """
        x = write_rows(self._embed_ids(ids_1T), index_N, rows_ND)
        packing = None if cu_seqlens is None else cu_seqlens.to(self.device)
        with guard(self.backbone.origin, "prefill()"):
            return self.backbone.prefill(x, state=state, cu_seqlens=packing)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean loss of each head that ``batch`` supervises, by the head's name."""
        batch = batch.to(self.device)
        x = self.embed(batch)
        with guard(self.backbone.origin, "forward()"):
            hidden = self.backbone.training_pass(x, batch.cu_seqlens)
        return self.supervise(hidden[0], batch)

    def supervise(self, hidden_TD: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return :meth:`losses` of the hidden vectors of a batch that is on the model's device."""
        losses: dict[str, Tensor] = {}
        if len(batch.supervised):
            for name, head in self.token_heads().items():
                with guard(head.origin, "supervise()"):
                    losses[name] = head.supervise(hidden_TD[batch.supervised], batch.labels)
        for name, transcriber in self.transcript_heads().items():
            if transcribed := batch.transcribed(transcriber.config.modality):
                hidden = hidden_of(hidden_TD, [placed for placed, _ in transcribed])
                with guard(transcriber.origin, "supervise()"):
                    losses[name] = transcriber.supervise(hidden, [batch.labels[words] for _, words in transcribed])
        heads = self.query_heads()
        for name, queries in batch.queries.items():
            with guard(heads[name].origin, "supervise()"):
                losses[name] = heads[name].supervise(hidden_TD[batch.query_positions[name]], queries)
        return losses

    def predict(self, batch: Batch) -> dict[str, Sequence[Any]]:
        """Return the predictions of each head that ``batch`` queries, by the head's name, in the order of queries."""
        batch = batch.to(self.device)
        hidden_TD = self(batch)[0][0]
        heads = self.query_heads()
        predictions: dict[str, Sequence[Any]] = {}
        for name, queries in batch.queries.items():
            with guard(heads[name].origin, "predict()"):
                hidden_nD = _as_weights(hidden_TD[batch.query_positions[name]], heads[name])
                predictions[name] = heads[name].predict(hidden_nD, queries)
        return predictions

    def transcribe(self, batch: Batch, head: str) -> list[list[int]]:
        """Return the ids that a transcript head gives for each medium of its modality, in the order of the media."""
        batch = batch.to(self.device)
        transcriber = self.transcript_heads()[head]
        media = [placed for placed in batch.media if placed.modality == transcriber.config.modality]
        hidden = hidden_of(_as_weights(self(batch)[0][0], transcriber), media)
        with guard(transcriber.origin, "predict()"):
            return transcriber.predict(hidden)


def hidden_of(hidden_TD: Tensor, media: Sequence[PlacedMedia]) -> Features:
    """Return the hidden vectors at the places of N media, at least one: ``values [N, L, D]``."""
    rows = [hidden_TD[placed.position : placed.position + placed.count] for placed in media]
    return Features(pad_sequence(rows, batch_first=True), torch.tensor([placed.count for placed in media]))


def _as_weights(hidden: Tensor, head: nn.Module) -> Tensor:
    """Return hidden vectors in the type of a head's weights: a backbone that answers may be in bfloat16."""
    weight = next(head.parameters(), None)
    return hidden if weight is None else hidden.to(weight.dtype)


def _groups(lengths: Sequence[int]) -> Iterator[range]:
    """Yield neighboring conversations that fit into a chunk together; one that fits into none stands alone."""
    first, tokens = 0, 0
    for index, length in enumerate(lengths):
        if index > first and tokens + length > PREFILL_CHUNK:
            yield range(first, index)
            first, tokens = index, 0
        tokens += length
    yield range(first, len(lengths))
