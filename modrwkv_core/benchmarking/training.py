"""``modrwkv bench layer`` and ``bench train``: one block with its gradients, and training steps of a whole model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.backbones.rwkv7.block import Block, LayerState
from modrwkv_core.benchmarking.baselines import FLA, LLAMA, MissingBaselineError, fla_model, llama
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.roofline import measure_roofline
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.heads.lm import LanguageModelHead

__all__ = ["bench_layer", "bench_train"]

TRAINING_FLOPS = 6  # of each weight and token: two forward, four backward

Case = Callable[[], object]


def bench_layer(
    size: ModelSize,
    *,
    batch_size: int,
    tokens: int,
    device: str,
    dtype: torch.dtype,
    seconds: float,
    baselines: bool = True,
) -> TimeReport:
    """Measure the second block of a backbone, forward and backward. The bound is that of its matrix products.

    Args:
        size: Of the backbone.
        batch_size: Number of sequences.
        tokens: Length of each.
        device: Where to compute.
        dtype: Of parameters and activations.
        seconds: How long to measure.
        baselines: Whether to measure baselines, too. Without them the report has the peak memory of a GPU.
    """
    report = _report("layer", size, batch_size, tokens, device, dtype)
    x_BTD = torch.randn(batch_size, tokens, size.hidden_size, device=device, dtype=dtype)
    makers: dict[str, Callable[..., Case]] = {"ours": _our_layer}
    if baselines:
        makers |= {FLA: _fla_layer, LLAMA: _llama_layer}
    cases = _make(report, {name: partial(make, size, x_BTD) for name, make in makers.items()})
    weights = size.block_parameters() / size.num_layers
    _measure(report, "forward + backward", cases, weights, batch_size * tokens, device, dtype, seconds)
    return report


def bench_train(
    size: ModelSize,
    *,
    batch_size: int,
    tokens: int,
    device: str,
    dtype: torch.dtype,
    seconds: float,
    baselines: bool = True,
    activation_checkpointing: str = "none",
    profile: bool = False,
) -> TimeReport:
    """Measure forward, loss, backward and a step of AdamW. The bound is that of the matrix products.

    Args:
        size: Of the model.
        batch_size: Number of sequences.
        tokens: Length of each.
        device: Where to compute.
        dtype: Of parameters and activations.
        seconds: How long to measure.
        baselines: Whether to measure baselines, too. Without them the report has the peak memory of a GPU.
        activation_checkpointing: Of ours, as in the manifest.
        profile: Whether to list the operations of one step of ours that take longest, below the table.
    """
    report = _report("train", size, batch_size, tokens, device, dtype)
    report.settings["activation checkpointing"] = activation_checkpointing
    ids = torch.randint(0, size.vocab_size, (batch_size, tokens + 1), device=device)
    makers: dict[str, Callable[..., Case]] = {
        "ours": partial(_our_model, activation_checkpointing=activation_checkpointing)
    }
    if baselines:
        makers |= {FLA: _fla_model, LLAMA: _llama_model}
    if baselines and device != "cpu":
        makers[f"{LLAMA}, compiled"] = partial(_llama_model, compiled=True)
    cases = _make(report, {name: partial(make, size, ids, dtype) for name, make in makers.items()})
    _measure(report, "training step", cases, size.step_weights(), batch_size * tokens, device, dtype, seconds)
    if profile:
        report.appendix = _profile(cases["ours"], device)
    return report


def _report(
    benchmark: str, size: ModelSize, batch_size: int, tokens: int, device: str, dtype: torch.dtype
) -> TimeReport:
    settings = {
        "layers": size.num_layers,
        "hidden size": size.hidden_size,
        "vocabulary": size.vocab_size,
        "batch size": batch_size,
        "tokens": tokens,
        "dtype": str(dtype),
    }
    return TimeReport(benchmark, settings, fingerprint(device), "token")


def _measure(
    report: TimeReport,
    work: str,
    cases: Mapping[str, Case],
    weights: float,
    tokens: int,
    device: str,
    dtype: torch.dtype,
    seconds: float,
) -> None:
    bound = measure_roofline(device, dtype).bound(0, TRAINING_FLOPS * weights * tokens)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    for name, timing in interleave(cases, seconds=seconds, device=device).items():
        report.rows.append(Row(work, name, timing, tokens, bound))
    if list(cases) == ["ours"] and device != "cpu":
        report.settings["peak memory, GiB"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 1)


def _profile(step: Case, device: str) -> str:
    activity = {"cpu": ProfilerActivity.CPU, "cuda": ProfilerActivity.CUDA}[torch.device(device).type]
    with torch.profiler.profile(activities=[activity], acc_events=True) as profile:
        step()
    table: str = profile.key_averages().table(
        sort_by=f"self_{torch.device(device).type}_time_total", row_limit=40, max_name_column_width=80
    )
    return table


def _make(report: TimeReport, makers: Mapping[str, Callable[[], Case]]) -> dict[str, Case]:
    cases = {}
    for name, make in makers.items():
        try:
            cases[name] = make()
        except MissingBaselineError as missing:
            report.missing[name] = str(missing)
    return cases


def _gradients(module: nn.Module, x_BTD: Tensor, run: Callable[[Tensor], Tensor]) -> Case:
    """Forward and backward with gradients of the input and of all parameters."""
    x_BTD = x_BTD.clone().requires_grad_()
    leaves = [x_BTD, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    direction = torch.randn_like(x_BTD)
    return lambda: torch.autograd.grad(run(x_BTD), leaves, direction, allow_unused=True)


def _our_layer(size: ModelSize, x_BTD: Tensor) -> Case:
    batch_size, _, hidden_size = x_BTD.shape
    block = Block(size.config().sizes(), 1, "auto").to(x_BTD.device, x_BTD.dtype)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=hidden_size**-0.5)
    matrix = torch.zeros(batch_size, hidden_size // HEAD_SIZE, HEAD_SIZE, HEAD_SIZE, device=x_BTD.device)
    before = LayerState(matrix, x_BTD.new_zeros(batch_size, hidden_size), x_BTD.new_zeros(batch_size, hidden_size))
    v_first_BTD = torch.randn_like(x_BTD)
    return _gradients(block, x_BTD, lambda x: block(x, v_first_BTD, before, None)[0])


def _fla_layer(size: ModelSize, x_BTD: Tensor) -> Case:
    block = fla_model(ModelSize(2, size.hidden_size, 8), x_BTD.device.type, x_BTD.dtype).model.layers[1]
    v_first_BTD = torch.randn_like(x_BTD)
    return _gradients(block, x_BTD, lambda x: block(x, v_first=v_first_BTD)[0])


def _llama_layer(size: ModelSize, x_BTD: Tensor) -> Case:
    # A layer needs the rotary embeddings of its model.
    model = llama(ModelSize(2, size.hidden_size, 8), x_BTD.device.type, x_BTD.dtype).model
    positions = torch.arange(x_BTD.shape[1], device=x_BTD.device)[None]
    rotary = model.rotary_emb(x_BTD, positions)
    layer = model.layers[1]

    def run(x: Tensor) -> Tensor:
        out = layer(x, position_embeddings=rotary, position_ids=positions)
        hidden: Tensor = out[0] if isinstance(out, tuple) else out
        return hidden

    return _gradients(layer, x_BTD, run)


def _training_step(module: nn.Module, loss: Callable[[], Tensor]) -> Case:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _our_model(size: ModelSize, ids: Tensor, dtype: torch.dtype, *, activation_checkpointing: str) -> Case:
    with torch.device(ids.device):
        model = RWKV7(size.config(activation_checkpointing=activation_checkpointing), size.vocab_size).to(dtype).train()
    head = LanguageModelHead(LanguageModelConfig(), model)

    def loss() -> Tensor:
        hidden, _ = model(model.embed(ids[:, :-1]))
        return head.supervise(hidden.flatten(0, 1), ids[:, 1:].flatten())

    return _training_step(model, loss)


def _fla_model(size: ModelSize, ids: Tensor, dtype: torch.dtype) -> Case:
    model = fla_model(size, ids.device.type, dtype).train()
    return _training_step(model, lambda: _loss_of(model, ids))


def _llama_model(size: ModelSize, ids: Tensor, dtype: torch.dtype, *, compiled: bool = False) -> Case:
    model = llama(size, ids.device.type, dtype).train()
    run = torch.compile(model) if compiled else model
    return _training_step(model, lambda: _loss_of(run, ids))


def _loss_of(model: Any, ids: Tensor) -> Tensor:
    loss: Tensor = model(ids[:, :-1], labels=ids[:, :-1], use_cache=False).loss
    return loss
