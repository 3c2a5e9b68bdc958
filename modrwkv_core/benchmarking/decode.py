"""``modrwkv bench decode``: tokens per second of greedy decoding, from an empty state."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.baselines import (
    FLA,
    LLAMA,
    RWKV_PIP,
    MissingBaselineError,
    causal_step,
    fla_model,
    llama,
    official_rwkv,
    official_step,
)
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.llama_cpp import BYTES, LLAMA_CPP, LlamaCpp
from modrwkv_core.benchmarking.random_weights import random_backbone
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.roofline import measure_roofline
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize
from modrwkv_core.interfaces.decoding import BackboneDecoder, Decoder
from modrwkv_core.interop.gguf import OutType

__all__ = ["bench_decode", "greedy"]

CPU_WEIGHTS = {"float32": 4, "bfloat16": 2, "int8": 1}  # bytes of a weight
CONTEXT = 512  # tokens in the cache of a Transformer at the start
RUN = 16  # tokens that are decoded before the device is waited for

Step = Callable[[Tensor], Tensor]
Turn = Callable[[], None]


def bench_decode(size: ModelSize, *, batch_sizes: tuple[int, ...], device: str, seconds: float) -> TimeReport:
    """Measure greedy decoding, ours and the baselines' in turns, all batch sizes together.

    A turn is a run of tokens, each the most likely after the one before, and ends when the device has found the last.
    On the CPU ours is measured with weights in float32, bfloat16 and int8, llama.cpp in bf16 and q8_0, and the other
    baselines in float32; on a GPU all in bfloat16. llama.cpp begins each turn with one token and an empty state. The
    bound is the time of reading the weights once, and of reading and writing the states.

    Args:
        size: Of the model.
        batch_sizes: Numbers of sequences decoded together.
        device: Where to compute.
        seconds: How long to measure altogether.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    settings = {
        "layers": size.num_layers,
        "hidden size": size.hidden_size,
        "vocabulary": size.vocab_size,
        "context of baselines with a cache": CONTEXT,
        "tokens in a row": RUN,
    }
    report = TimeReport("decode", settings, fingerprint(device), "token")
    roofline = measure_roofline(device, dtype)
    weights, state_bytes = size.step_weights(), size.num_layers * size.hidden_size * HEAD_SIZE * 4
    cases: dict[tuple[int, str], Turn] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pth"
        model = random_backbone(size, checkpoint).to(device, dtype)
        decoders, weight_bytes = _ours(model, dtype)
        baselines = _baselines(size, model, checkpoint, max(batch_sizes), device, dtype)
        weight_bytes |= {name: BYTES[LLAMA_CPP[name]] if name in LLAMA_CPP else dtype.itemsize for name in baselines}
        for count in batch_sizes:
            for name, decoder in decoders.items():
                cases[count, name] = greedy(decoder.start(model.init_state(count)).step, count, RUN, device)
            for name, make in baselines.items():
                try:
                    cases[count, name] = make(count)
                except MissingBaselineError as missing:
                    report.missing[name] = str(missing)
        timings = interleave(cases, seconds=seconds, device=device)
    for (count, name), timing in timings.items():
        bound = roofline.bound(weights * weight_bytes[name] + 2 * count * state_bytes, 2 * weights * count)
        report.rows.append(Row(f"batch size {count}", name, timing, RUN * count, RUN * bound))
    return report


def greedy(step: Step, batch_size: int, tokens: int, device: str = "cpu") -> Turn:
    """Return a function that decodes the next ``tokens``, with a step from ids ``[B]`` to logits ``[B, V]``."""
    ids = torch.ones(batch_size, dtype=torch.int64, device=device)

    def run() -> None:
        nonlocal ids
        for _ in range(tokens):
            ids = step(ids).argmax(-1)

    return run


def _ours(model: RWKV7, dtype: torch.dtype) -> tuple[dict[str, Decoder], dict[str, float]]:
    """Return our decoders, the one to compare with first, and the bytes of a weight of each."""
    backbone = BackboneDecoder(model)
    ready: dict[str, tuple[Decoder, int]] = {}
    if isinstance(model.decoder(), BackboneDecoder):
        ready["ours"] = (backbone, dtype.itemsize)
    elif model.emb.weight.device.type == "cpu":
        for weights in ("bfloat16", "int8", "float32"):
            ready[f"ours, {weights} weights"] = (model.decoder(weights), CPU_WEIGHTS[weights])
        ready["ours, forward pass"] = (backbone, dtype.itemsize)
    else:
        ready["ours"] = (model.decoder(), dtype.itemsize)
        ready["ours, forward pass"] = (backbone, dtype.itemsize)
    return {name: decoder for name, (decoder, _) in ready.items()}, {name: size for name, (_, size) in ready.items()}


def _baselines(
    size: ModelSize, model: RWKV7, checkpoint: Path, largest_batch: int, device: str, dtype: torch.dtype
) -> dict[str, Callable[[int], Turn]]:
    """Return what makes a turn of each baseline, for a batch size. Models are built once."""
    fla = cache(lambda: fla_model(size, device, dtype))
    transformer = cache(lambda: llama(size, device, dtype))

    @cache
    def llama_cpp(out_type: OutType) -> LlamaCpp:
        return LlamaCpp(model, checkpoint.parent, out_type, sequences=largest_batch, tokens=RUN + 1)

    def official(count: int) -> Turn:
        if count > 1:
            raise MissingBaselineError("it decodes one sequence at a time")
        strategy = "cpu fp32" if device == "cpu" else "cuda bf16"
        return greedy(official_step(official_rwkv(checkpoint, strategy), [1, 2, 3]), 1, RUN, device)

    def causal(model: Callable[[], Any], count: int) -> Turn:
        return greedy(causal_step(model(), count, CONTEXT, device), count, RUN, device)

    def quantized(out_type: OutType, count: int) -> Turn:
        return partial(llama_cpp(out_type).generate, [[1]] * count, RUN)

    return {
        RWKV_PIP: official,
        FLA: partial(causal, fla),
        LLAMA: partial(causal, transformer),
        **{name: partial(quantized, out_type) for name, out_type in LLAMA_CPP.items()},
    }
