"""Ways to train on the same conversations: ours, a plain PyTorch loop, and nanoVLM's recipe.

B = conversations, T = tokens of the longest, D = hidden size, N = media items, L = patches.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from modrwkv_core.benchmarking.baselines import require
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize
from modrwkv_core.data.batch import IGNORE, Sample
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.loading import Loader
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.assemble import conversation_encoder
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.flops import StepFlops
from modrwkv_core.training.phase import PhaseRun
from modrwkv_core.training.plan import PhasePlan, apply_plan
from modrwkv_core.training.world import World

__all__ = ["Case", "LoaderCase", "NanoVLMCase", "OurCase", "PaddedCase", "Work"]


@dataclass(slots=True)
class Work:
    """What a turn has done.

    Attributes:
        tokens: Of the conversations, without padding.
        samples: Conversations.
        positions: Tokens with padding.
        waited: Seconds of waiting for data.
        flops: Operations of the model; 0 if they are not known.
    """

    tokens: int = 0
    samples: int = 0
    positions: int = 0
    waited: float = 0.0
    flops: float = 0.0


class Case(ABC):
    """One way to train, or to load."""

    @abstractmethod
    def start(self) -> None:
        """Make ready for a turn: begin to load anew and take one step, which is not measured."""

    @abstractmethod
    def run(self, steps: int) -> Work:
        """Take steps."""


class OurCase(Case):
    """``modrwkv train``, step by step.

    Args:
        loaded: The manifest.
        folder: For the run.
        device: Where to train.
    """

    def __init__(self, loaded: LoadedManifest, folder: Path, device: str) -> None:
        torch.manual_seed(0)
        context = RunContext(
            loaded, RunFolder(folder), World(0, 1, torch.device(device)), progress_bar=False, pretrained=True
        )
        context.model.to(device)
        self.context = context
        self._phase = PhaseRun(context, PhasePlan.of(context, context.manifest.phases[0]), None)
        self._flops = StepFlops(context.model)
        self._batches = self._phase.batches()

    def start(self) -> None:
        """Begin to load anew and take one step."""
        self._batches = self._phase.batches()
        self.run(1)

    def run(self, steps: int) -> Work:
        """Take steps."""
        accumulator = self._phase.accumulator
        accumulator.reset()
        work = Work()
        for _ in range(steps):
            micro_batches, counts = self._phase.next_batch(self._batches)
            (batch,) = micro_batches
            assert batch is not None, "no record is broken"
            self._phase.take_step(micro_batches, counts)
            work.tokens += batch.ids.numel()
            work.samples += len(batch.keys)
            work.flops += self._flops(batch)
        accumulator.fetch()
        work.positions = work.tokens
        work.waited = accumulator.state().waited
        return work


class LoaderCase(Case):
    """The loader alone.

    Args:
        context: The run.
        workers: Processes.
    """

    def __init__(self, context: RunContext, workers: int) -> None:
        phase = context.manifest.phases[0]
        self._loader = Loader(
            context.sources(phase),
            conversation_encoder(context.model, None),
            batch_size=context.manifest.batch_limits(phase)[0],
            seed=0,
            workers=workers,
            pin_memory=context.device.type == "cuda",
        )
        self._batches = self._loader.batches_from(0)

    def start(self) -> None:
        """Begin anew and load one batch."""
        self._batches = self._loader.batches_from(0)
        self.run(1)

    def run(self, steps: int) -> Work:
        """Load batches."""
        work = Work()
        for _ in range(steps):
            (batch,) = next(self._batches)
            assert batch is not None, "no record is broken"
            work.tokens += batch.ids.numel()
            work.samples += len(batch.keys)
        work.positions = work.tokens
        return work


class _Conversations(Dataset[Sample]):
    def __init__(self, source: Source[Any], encoder: ConversationEncoder) -> None:
        self._source, self._encoder = source, encoder

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        return self._encoder.sample(self._source[index])


@dataclass(slots=True)
class _PaddedBatch:
    samples: list[Sample]
    ids: Tensor
    labels: Tensor
    rows: Tensor
    columns: Tensor


def _collate(samples: list[Sample]) -> _PaddedBatch:
    """Pad conversations to the longest, and note where the features of media go."""
    longest = max(len(sample.ids) for sample in samples)
    ids = torch.zeros(len(samples), longest, dtype=torch.int64)
    labels = torch.full_like(ids, IGNORE)
    rows, columns = [], []
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = sample.ids
        labels[row, : len(sample.ids)] = sample.targets
        for placed in sample.media:
            rows.append(torch.full((placed.count,), row))
            columns.append(torch.arange(placed.position, placed.position + placed.count))
    return _PaddedBatch(samples, ids, labels, torch.cat(rows), torch.cat(columns))


class _PlainLoop(Case, ABC):
    """A training loop as in tutorials: padding, ``DataLoader`` defaults, autocast, a loss that each step reads.

    Args:
        context: The data, the device and the precision.
        module: Its trainable parameters learn.
    """

    def __init__(self, context: RunContext, module: nn.Module) -> None:
        phase = context.manifest.phases[0]
        self.device = context.device
        self._module = module
        self._bf16 = phase.precision == "bfloat16"
        (source,) = context.sources(phase)
        dataset = _Conversations(source, conversation_encoder(context.model, None))
        self._loader = DataLoader(
            dataset,
            batch_size=context.manifest.batch_limits(phase)[0],
            shuffle=True,
            collate_fn=_collate,
            drop_last=True,
        )
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(learning, lr=phase.lr)
        self._learning = learning
        self._batches = self._endless()

    def _endless(self) -> Iterator[_PaddedBatch]:
        while True:
            yield from self._loader

    @abstractmethod
    def loss(self, batch: _PaddedBatch) -> Tensor:
        """Return the mean loss of a batch."""

    def start(self) -> None:
        """Take one step."""
        self._batches = self._endless()
        self.run(1)

    def run(self, steps: int) -> Work:
        """Take steps."""
        work = Work()
        for _ in range(steps):
            began = time.perf_counter()
            batch = next(self._batches)
            work.waited += time.perf_counter() - began
            precision = torch.autocast(self.device.type, dtype=torch.bfloat16) if self._bf16 else nullcontext()
            with precision:
                loss = self.loss(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self._learning, 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad()
            loss.item()
            work.tokens += sum(len(sample.ids) for sample in batch.samples)
            work.samples += len(batch.samples)
            work.positions += batch.ids.numel()
        return work


class PaddedCase(_PlainLoop):
    """The same model in a plain loop.

    Args:
        context: The data and the manifest.
        model: A model of that manifest, on the device.
    """

    def __init__(self, context: RunContext, model: MultimodalModel) -> None:
        phase = context.manifest.phases[0]
        apply_plan(model, context.manifest, phase, PhasePlan.of(context, phase).method)
        super().__init__(context, model)
        self._model = model

    def loss(self, batch: _PaddedBatch) -> Tensor:
        """Return the cross-entropy of the padded logits."""
        model, device = self._model, self.device
        x_BTD = model.backbone.embed(batch.ids.to(device))
        media = [placed for sample in batch.samples for placed in sample.media]
        (embedder,) = model.embedders.values()
        rows_ND = embedder([placed.item.to(device) for placed in media]).packed()
        x_BTD = x_BTD.index_put((batch.rows.to(device), batch.columns.to(device)), rows_ND.to(x_BTD.dtype))
        hidden_BTD, _ = model.backbone(x_BTD)
        logits_BTV = model.backbone.logits(hidden_BTD)
        return F.cross_entropy(logits_BTV.flatten(0, 1).float(), batch.labels.to(device).flatten(), ignore_index=IGNORE)


class NanoVLMCase(_PlainLoop):
    """nanoVLM's recipe: SigLIP, neighboring patches joined and projected, a Llama; of ours in size and in tokens.

    Source: huggingface/nanoVLM; its modality projector joins patches, a linear layer maps them to the language model.

    Args:
        context: The data.
        size: Of our model.
        trains_llama: Whether the language model learns; the encoder never does.

    Raises:
        MissingBaselineError: transformers is not installed.
    """

    def __init__(self, context: RunContext, size: MultimodalSize, *, trains_llama: bool) -> None:
        transformers = require("transformers", "transformers")
        vocab_size = context.model.backbone.vocab_size
        hidden = size.encoder.hidden_size
        config = transformers.SiglipVisionConfig(
            image_size=size.image_size,
            patch_size=16,
            hidden_size=hidden,
            num_hidden_layers=size.encoder.num_layers,
            num_attention_heads=hidden // HEAD_SIZE,
            intermediate_size=4 * hidden,
            vision_use_head=False,
        )
        language = ModelSize(size.backbone.num_layers, size.backbone.hidden_size, vocab_size)
        with torch.device(context.device):
            self._vision: Any = transformers.SiglipVisionModel(config).eval().requires_grad_(False)
            self._projector = nn.Linear(2 * hidden, size.backbone.hidden_size, bias=False)
            self._llama: Any = transformers.LlamaForCausalLM(language.llama_config()).requires_grad_(trains_llama)
        super().__init__(context, nn.ModuleList([self._vision, self._projector, self._llama]))

    def loss(self, batch: _PaddedBatch) -> Tensor:
        """Return the cross-entropy of the padded logits."""
        device = self.device
        pixels = [placed.item.tensors["pixels"] for sample in batch.samples for placed in sample.media]
        images = torch.stack([normalize_pixels(each, (0.5,), (0.5,)) for each in pixels]).to(device)
        patches_NLD = self._vision(pixel_values=images).last_hidden_state
        patches_NLD = F.pad(patches_NLD, (0, 0, 0, patches_NLD.shape[1] % 2))
        count = len(batch.rows) // len(pixels)
        joined_NLD = patches_NLD.reshape(len(pixels), -1, 2 * patches_NLD.shape[2])[:, :count]
        rows_ND = self._projector(joined_NLD).flatten(0, 1)
        x_BTD = self._llama.get_input_embeddings()(batch.ids.to(device))
        x_BTD = x_BTD.index_put((batch.rows.to(device), batch.columns.to(device)), rows_ND.to(x_BTD.dtype))
        lengths = torch.tensor([len(sample.ids) for sample in batch.samples])
        mask_BT = (torch.arange(x_BTD.shape[1])[None] < lengths[:, None]).to(device)
        logits_BTV = self._llama(inputs_embeds=x_BTD, attention_mask=mask_BT, use_cache=False).logits
        return F.cross_entropy(logits_BTV.flatten(0, 1).float(), batch.labels.to(device).flatten(), ignore_index=IGNORE)
