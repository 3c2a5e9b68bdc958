"""Training on a GPU: batches arrive whole, runs are those of the CPU, and broken steps are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.backbones.rwkv7 import training_graphs
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.loading import Loader
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble, conversation_encoder, open_source
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.attention import no_cudnn_attention
from modrwkv_core.training.loggers import read_metrics
from modrwkv_core.training.loop import train
from modrwkv_core.training.metrics import MetricsAccumulator, StepMetrics
from modrwkv_core.training.prefetch import batches_on

Manifest = Callable[..., Path]
ALL = ["encoder", "compressor", "adapter", "backbone", "heads"]

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
# On a machine that lends few cores, torch warns of more workers than these.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


def tensors(batch: Batch) -> list[torch.Tensor]:
    lengths = batch.cu_seqlens
    return [
        batch.ids,
        batch.supervised,
        batch.labels,
        *(lengths.device, lengths.first, lengths.last, lengths.sequence_starts),
        *batch.media_positions.values(),
        *batch.query_positions.values(),
        *(tensor for placed in batch.media for tensor in placed.item.tensors.values()),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_whole(tiny_manifest: Manifest, workers: int) -> None:
    loaded = load_manifest(tiny_manifest())
    model = assemble(loaded, pretrained=False)

    def loader(**settings: Any) -> Iterator[tuple[Batch | None, ...]]:
        sources = [open_source(loaded, config) for config in loaded.manifest.data.train]
        return Loader(sources, conversation_encoder(model, None), batch_size=3, seed=0, **settings).batches(0)

    device = torch.device("cuda")
    moved = batches_on(device, loader(workers=workers, pin_memory=True))
    busy = torch.randn(2048, 2048, device=device)
    for (there,), (here,) in zip(moved, loader(), strict=True):
        for _ in range(20):
            busy = torch.tanh(busy @ busy)  # the copies of later batches must not overtake what is computed
        assert there is not None
        assert here is not None
        for one, other in zip(tensors(there), tensors(here), strict=True):
            assert one.is_cuda
            assert torch.equal(one.cpu(), other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_are_those_of_the_cpu(tiny_manifest: Manifest, tmp_path: Path, precision: str) -> None:
    phase = {"name": "align", "train": ALL, "lr": 1e-3, "steps": 8, "log_every": 1, "precision": precision}
    manifest = load_manifest(tiny_manifest(phases=[phase]))
    found = []
    for device in ("cpu", "cuda"):
        train(manifest, tmp_path / device, resume=False, device=device, progress_bar=False)
        found.append([float(line["loss"]) for line in read_metrics(tmp_path / device)])
    assert found[1] == pytest.approx(found[0], rel=1e-2 if precision == "float32" else 0.1)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
def test_a_step_does_not_wait_for_the_device(
    tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, fetch = MultimodalModel.losses, MetricsAccumulator.fetch
    calls = 0

    def strict(self: MultimodalModel, batch: Batch) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls > 4:  # the first steps compile, allocate and look at the features
            torch.cuda.set_sync_debug_mode("error")
        return losses(self, batch)

    def relaxed(self: MetricsAccumulator) -> StepMetrics | None:
        torch.cuda.set_sync_debug_mode("default")
        return fetch(self)

    class Capture(training_graphs._Graphs):
        def __init__(self, *arguments: Any) -> None:  # waits; it happens once for a length
            torch.cuda.set_sync_debug_mode("default")
            super().__init__(*arguments)
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(training_graphs, "_Graphs", Capture)
    monkeypatch.setattr(MultimodalModel, "losses", strict)
    monkeypatch.setattr(MetricsAccumulator, "fetch", relaxed)
    phase = {"name": "align", "train": ALL, "lr": 1e-3, "steps": 12, "log_every": 100, "precision": "bfloat16"}
    data = {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 4}
    manifest = load_manifest(tiny_manifest(phases=[phase], heads={"lm": {"type": "lm"}}, data=data))
    train(manifest, tmp_path / "run", resume=False, device="cuda", progress_bar=False)
    assert calls == 12


def test_a_loss_that_is_not_finite_is_named_and_never_saved(tiny_manifest: Manifest, tmp_path: Path) -> None:
    phase = {"name": "align", "train": ALL, "lr": 1e30, "steps": 12, "log_every": 6, "checkpoint_every": 4}
    phase |= {"max_grad_norm": None, "scheduler": {"type": "cosine", "warmup_steps": 0}}
    manifest = load_manifest(tiny_manifest(phases=[phase]))
    with pytest.raises(ModRWKVError, match=r"not finite in step \d+ .*this and later steps are lost"):
        train(manifest, tmp_path / "run", resume=False, device="cuda", progress_bar=False)
    for checkpoint in RunFolder(tmp_path / "run").steps():
        for path in checkpoint.glob("*.safetensors"):
            assert all(tensor.isfinite().all() for tensor in read_tensors(path).values())


def test_gradients_of_attention_are_finite_at_a_length_at_which_those_of_cudnn_are_not() -> None:
    heads, length, width = 2, 64, 64
    torch.manual_seed(0)
    query, key, value = (0.1 * torch.randn(1, heads, length, width, device="cuda") for _ in range(3))
    query[..., 0], key[..., 0] = 1.0, -120.0 * width**0.5  # all scores are near -120
    leaves = [each.bfloat16().requires_grad_() for each in (query, key, value)]
    mask = torch.ones(length, length, dtype=torch.bool, device="cuda")
    with no_cudnn_attention():
        torch.nn.functional.scaled_dot_product_attention(*leaves, attn_mask=mask).square().sum().backward()
    assert all(leaf.grad is not None and bool(leaf.grad.isfinite().all()) for leaf in leaves)
