"""The models that are compared: one encoder, compressor and adapter, on two backbones of equal size."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from modrwkv_core.benchmarking.costs.report import Work
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize, write_run
from modrwkv_core.benchmarking.random_weights import draw_weights
from modrwkv_core.benchmarking.sizes import HEAD_SIZE
from modrwkv_core.data.batch import Batch
from modrwkv_core.interfaces.decoding import Decoder
from modrwkv_core.interfaces.fresh_weights import weights_to_come
from modrwkv_core.interfaces.state import State
from modrwkv_core.manifest.load import LoadedManifest, load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.context import RunContext
from modrwkv_core.training.counts import BatchCounts
from modrwkv_core.training.flops import StepFlops
from modrwkv_core.training.phase import PhaseRun
from modrwkv_core.training.plan import PhasePlan
from modrwkv_core.training.world import World

__all__ = ["DECODED", "Contender", "manifests"]

DECODED: Final = 8  # tokens that a call of decoding takes


def manifests(folder: Path, size: MultimodalSize, dtype: torch.dtype) -> dict[str, LoadedManifest]:
    """Write the manifest of our model and derive that of the Transformer, by name.

    Args:
        folder: Exists and is empty.
        size: Of the models.
        dtype: Of training's passes.

    Raises:
        PluginError: The Transformer is not installed.
    """
    precision = str(dtype).removeprefix("torch.")
    ours = write_run(folder, size, modality="image", train="finetune", precision=precision, workers=0)
    backbone = json.dumps(_transformer(size))
    return {"rwkv7": ours, "transformer": load_manifest(folder / "manifest.json", [f"backbone={backbone}"])}


def _transformer(size: MultimodalSize) -> dict[str, Any]:
    """Return the section of a Llama of as many parameters."""
    heads = size.backbone.hidden_size // HEAD_SIZE
    return {
        "type": "transformer",
        "init": "scratch",
        "architecture": "llama",
        "num_layers": size.backbone.num_layers,
        "hidden_size": size.backbone.hidden_size,
        "num_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": HEAD_SIZE,
        "intermediate_size": size.backbone.llama_intermediate_size(),
        "rope_theta": 1e4,
        "rope_scaling": {},
        "tie_embeddings": False,
    }


class Contender:
    """A model that answers, and another one of the same sizes that learns, with ``modrwkv train``'s own steps.

    Args:
        loaded: The manifest.
        folder: For the run.
        device: Where to compute.
        dtype: Of the weights of the backbone that answers.
        attention_width: Channels in which each token attends to the earlier ones, those of all layers together.
    """

    def __init__(
        self, loaded: LoadedManifest, folder: Path, device: str, dtype: torch.dtype, attention_width: int
    ) -> None:
        with weights_to_come():
            context = RunContext(
                loaded, RunFolder(folder), World(0, 1, torch.device(device)), progress_bar=False, pretrained=False
            )
        draw_weights(context.model.to(device))
        self.model = copy.deepcopy(context.model).eval().requires_grad_(False)
        self.model.backbone.to(dtype)
        self.decoder: Decoder = self.model.backbone.decoder()
        self._attention_width = attention_width
        self._context = context
        self._phase = PhaseRun(context, PhasePlan.of(context, context.manifest.phases[0]), None)
        self._flops = StepFlops(self.model)
        self._training_flops = StepFlops(context.model)

    @property
    def num_parameters(self) -> int:
        """Parameters of the backbone."""
        return sum(parameter.numel() for parameter in self.model.backbone.parameters())

    def warm_up(self, batch: Batch) -> None:
        """Do everything once, so that what libraries set up counts as no call's."""
        self.decode(self.prefill(batch))
        self.train(batch)

    @torch.inference_mode()
    def prefill(self, batch: Batch) -> State:
        """Read prompts up to the logits of the next token; return the state after them."""
        hidden, state = self.model.prefill(batch)
        self.model.backbone.logits(hidden)
        return state

    @torch.inference_mode()
    def decode(self, state: State) -> None:
        """Decode :data:`DECODED` tokens of each sequence greedily."""
        ids = torch.ones(state.batch_size, dtype=torch.int64, device=self.model.device)
        with self.decoder.start(state) as decoding:
            for _ in range(DECODED):
                ids = decoding.step(ids).argmax(-1)

    def demand(self, work: Work, batch: Batch, state: State | None) -> tuple[float, float]:
        """Return the bytes that a call must read, and the operations of its matrix products and of attention.

        The recurrence, attention within the encoder, activations and what the optimizer reads are left out.

        Args:
            work: What is done.
            batch: The prompts.
            state: What the backbone remembers of them; None before they were read.
        """
        weights = self._per_token_weights()
        nbytes = sum(weight.nbytes for weight in weights)
        if work == "training step":
            return 0.0, self._training_flops(batch) + 3 * self._attention_flops(batch)
        if work == "prefill":
            prompts = replace(batch, supervised=batch.supervised[: len(batch.keys)])
            return float(nbytes), self._flops(prompts) + self._attention_flops(batch)
        products = 2 * sum(weight.numel() for weight in weights) * len(batch.keys)
        return float(DECODED * (nbytes + (0 if state is None else state.nbytes))), float(DECODED * products)

    def _per_token_weights(self) -> list[torch.Tensor]:
        """Return the matrices that every token meets; of the embedding it meets a row."""
        tables = {id(module.weight) for module in self.model.backbone.modules() if isinstance(module, nn.Embedding)}
        return [weight for weight in self.model.backbone.parameters() if weight.dim() == 2 and id(weight) not in tables]

    def _attention_flops(self, batch: Batch) -> float:
        """Operations of causal attention in a forward pass: scores and weighted sums of half of all pairs."""
        return 2.0 * self._attention_width * sum(length**2 for length in batch.cu_seqlens.lengths)

    def train(self, batch: Batch) -> None:
        """Take an optimizer step."""
        counts = BatchCounts.of(self._context.model, (batch,), self._context.world)
        self._phase.take_step((batch.to(self._context.device),), counts)
