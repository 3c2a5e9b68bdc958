"""``modrwkv bench decode``: tokens per second of greedy decoding, from an empty state."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

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
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.roofline import measure_roofline
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize, random_model
from modrwkv_core.interfaces.decoding import BackboneDecoder, Decoder

__all__ = ["bench_decode", "greedy"]

CPU_WEIGHTS = {"float32": 4, "bfloat16": 2, "int8": 1}  # bytes of a weight
CONTEXT = 512  # tokens in the cache of a Transformer at the start
RUN = 16  # tokens that are decoded before the device is waited for

Step = Callable[[Tensor], Tensor]


def bench_decode(size: ModelSize, *, batch_sizes: tuple[int, ...], device: str, seconds: float) -> TimeReport:
    """Measure greedy decoding, ours and the baselines' in turns.

    A turn is a run of tokens, each the most likely after the one before, and ends when the device has found the last.
    On the CPU ours is measured with weights in float32, bfloat16 and int8, and the baselines in float32; on a GPU all
    in bfloat16. The bound is the time of reading the weights once, and of reading and writing the states.

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
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pth"
        model = random_model(size, checkpoint).to(device, dtype)
        for count in batch_sizes:
            steps, weight_bytes = _ours(model, count, dtype)
            for baseline, make in _baselines(size, checkpoint, count, device, dtype).items():
                try:
                    steps[baseline] = make()
                    weight_bytes[baseline] = dtype.itemsize
                except MissingBaselineError as missing:
                    report.missing[baseline] = str(missing)
            cases = {name: greedy(step, count, RUN, device) for name, step in steps.items()}
            for name, timing in interleave(cases, seconds=seconds / len(batch_sizes), device=device).items():
                bound = roofline.bound(weights * weight_bytes[name] + 2 * count * state_bytes, 2 * weights * count)
                report.rows.append(Row(f"batch size {count}", name, timing, RUN * count, RUN * bound))
    return report


def greedy(step: Step, batch_size: int, tokens: int, device: str = "cpu") -> Callable[[], None]:
    """Return a function that decodes the next ``tokens``, with a step from ids ``[B]`` to logits ``[B, V]``."""
    ids = torch.ones(batch_size, dtype=torch.int64, device=device)

    def run() -> None:
        nonlocal ids
        for _ in range(tokens):
            ids = step(ids).argmax(-1)

    return run


def _ours(model: RWKV7, batch_size: int, dtype: torch.dtype) -> tuple[dict[str, Step], dict[str, int]]:
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
    steps: dict[str, Step] = {
        name: decoder.start(model.init_state(batch_size)).step for name, (decoder, _) in ready.items()
    }
    return steps, {name: size for name, (_, size) in ready.items()}


def _baselines(
    size: ModelSize, checkpoint: Path, batch_size: int, device: str, dtype: torch.dtype
) -> dict[str, Callable[[], Step]]:
    def official() -> Step:
        if batch_size > 1:
            raise MissingBaselineError("it decodes one sequence at a time")
        strategy = "cpu fp32" if device == "cpu" else "cuda bf16"
        return official_step(official_rwkv(checkpoint, strategy), [1, 2, 3])

    return {
        RWKV_PIP: official,
        FLA: lambda: causal_step(fla_model(size, device, dtype), batch_size, CONTEXT, device),
        LLAMA: lambda: causal_step(llama(size, device, dtype), batch_size, CONTEXT, device),
    }
