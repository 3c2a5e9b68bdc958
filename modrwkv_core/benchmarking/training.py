"""``modrwkv bench layer`` and ``bench train``: one block with its gradients, and whole training steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.backbones.rwkv7.block import Block, LayerState
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.floors import measure_ceilings
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Report, Row
from modrwkv_core.benchmarking.rivals import FLA, LLAMA, MissingRivalError, fla_model, llama
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.heads.lm import LanguageModelHead

__all__ = ["bench_layer", "bench_train"]

TRAINING_FLOPS = 6  # of each weight and token: two forward, four backward

Case = Callable[[], object]


def bench_layer(
    size: ModelSize, *, batch: int, tokens: int, device: str, dtype: torch.dtype, seconds: float, alone: bool = False
) -> Report:
    """Measure the second block of a trunk, forward and backward; the floor is that of its matrix products.

    Args:
        size: Of the trunk.
        batch: Sequences.
        tokens: Of each.
        device: Where to compute.
        dtype: Of parameters and activations.
        seconds: How long to measure.
        alone: Without rivals; on a GPU the peak of memory is then that of ours.
    """
    report = _report("layer", size, batch, tokens, device, dtype)
    x_BTD = torch.randn(batch, tokens, size.hidden_size, device=device, dtype=dtype)
    makers: dict[str, Callable[..., Case]] = {"ours": _our_layer}
    if not alone:
        makers |= {FLA: _fla_layer, LLAMA: _llama_layer}
    cases = _made(report, {name: partial(make, size, x_BTD) for name, make in makers.items()})
    of_block = size.block_parameters() / size.num_layers
    floor = measure_ceilings(device, dtype).floor(0, TRAINING_FLOPS * of_block * batch * tokens)
    for name, timing in interleave(cases, seconds=seconds, device=device).items():
        report.rows.append(Row("forward + backward", name, timing, batch * tokens, floor))
    _note_memory(report, device, alone)
    return report


def bench_train(
    size: ModelSize, *, batch: int, tokens: int, device: str, dtype: torch.dtype, seconds: float, alone: bool = False
) -> Report:
    """Measure forward, loss, backward and a step of AdamW; the floor is that of the matrix products.

    Takes what :func:`bench_layer` takes.
    """
    report = _report("train", size, batch, tokens, device, dtype)
    ids = torch.randint(0, size.vocab, (batch, tokens + 1), device=device)
    makers: dict[str, Callable[..., Case]] = {"ours": _our_model}
    if not alone:
        makers |= {FLA: _fla_model, LLAMA: _llama_model}
    if not alone and device != "cpu":
        makers[f"{LLAMA}, compiled"] = partial(_llama_model, compiled=True)
    cases = _made(report, {name: partial(make, size, ids, dtype) for name, make in makers.items()})
    floor = measure_ceilings(device, dtype).floor(0, TRAINING_FLOPS * size.step_weights() * batch * tokens)
    for name, timing in interleave(cases, seconds=seconds, device=device).items():
        report.rows.append(Row("training step", name, timing, batch * tokens, floor))
    _note_memory(report, device, alone)
    return report


def _report(benchmark: str, size: ModelSize, batch: int, tokens: int, device: str, dtype: torch.dtype) -> Report:
    settings = {
        "layers": size.num_layers,
        "width": size.hidden_size,
        "vocabulary": size.vocab,
        "batch": batch,
        "tokens": tokens,
        "dtype": str(dtype),
    }
    return Report(benchmark, "token", settings, fingerprint(device))


def _note_memory(report: Report, device: str, alone: bool) -> None:
    if alone and device != "cpu":
        report.settings["peak memory, GiB"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 1)


def _made(report: Report, makers: Mapping[str, Callable[[], Case]]) -> dict[str, Case]:
    cases = {}
    for name, make in makers.items():
        try:
            cases[name] = make()
        except MissingRivalError as missing:
            report.missing[name] = str(missing)
    return cases


def _gradients(module: nn.Module, x_BTD: Tensor, run: Callable[[Tensor], Tensor]) -> Case:
    """Forward and backward with gradients of the input and of all parameters."""
    x_BTD = x_BTD.clone().requires_grad_()
    leaves = [x_BTD, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    direction = torch.randn_like(x_BTD)
    return lambda: torch.autograd.grad(run(x_BTD), leaves, direction, allow_unused=True)


def _our_layer(size: ModelSize, x_BTD: Tensor) -> Case:
    rows, _, width = x_BTD.shape
    block = Block(size.config().sizes(), 1, "auto").to(x_BTD.device, x_BTD.dtype)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=width**-0.5)
    matrix = torch.zeros(rows, width // HEAD_SIZE, HEAD_SIZE, HEAD_SIZE, device=x_BTD.device)
    before = LayerState(matrix, x_BTD.new_zeros(rows, width), x_BTD.new_zeros(rows, width))
    v_first_BTD = torch.randn_like(x_BTD)
    return _gradients(block, x_BTD, lambda x: block(x, v_first_BTD, before, None)[0])


def _fla_layer(size: ModelSize, x_BTD: Tensor) -> Case:
    block = fla_model(ModelSize(2, size.hidden_size, 8), x_BTD.device.type, x_BTD.dtype).model.layers[1]
    v_first_BTD = torch.randn_like(x_BTD)
    return _gradients(block, x_BTD, lambda x: block(x, v_first=v_first_BTD)[0])


def _llama_layer(size: ModelSize, x_BTD: Tensor) -> Case:
    # One layer of a model, for the tables of positions that it is called with.
    model = llama(ModelSize(2, size.hidden_size, 8), x_BTD.device.type, x_BTD.dtype).model
    positions = torch.arange(x_BTD.shape[1], device=x_BTD.device)[None]
    rotary = model.rotary_emb(x_BTD, positions)
    layer = model.layers[1]

    def run(x: Tensor) -> Tensor:
        out = layer(x, position_embeddings=rotary, position_ids=positions)
        hidden: Tensor = out[0] if isinstance(out, tuple) else out
        return hidden

    return _gradients(layer, x_BTD, run)


def _trained(module: nn.Module, loss: Callable[[], Tensor]) -> Case:
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def _our_model(size: ModelSize, ids: Tensor, dtype: torch.dtype) -> Case:
    with torch.device(ids.device):
        model = RWKV7(size.config(), size.vocab).to(dtype).train()
    head = LanguageModelHead(LanguageModelConfig(), model)

    def loss() -> Tensor:
        hidden, _ = model(model.embed(ids[:, :-1]))
        return head.loss(hidden.flatten(0, 1), ids[:, 1:].flatten())

    return _trained(model, loss)


def _fla_model(size: ModelSize, ids: Tensor, dtype: torch.dtype) -> Case:
    model = fla_model(size, ids.device.type, dtype).train()
    return _trained(model, lambda: _loss_of(model, ids))


def _llama_model(size: ModelSize, ids: Tensor, dtype: torch.dtype, *, compiled: bool = False) -> Case:
    model = llama(size, ids.device.type, dtype).train()
    run = torch.compile(model) if compiled else model
    return _trained(model, lambda: _loss_of(run, ids))


def _loss_of(model: Any, ids: Tensor) -> Tensor:
    loss: Tensor = model(ids[:, :-1], labels=ids[:, :-1], use_cache=False).loss
    return loss
