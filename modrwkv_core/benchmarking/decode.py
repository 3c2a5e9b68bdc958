"""``modrwkv bench decode``: tokens per second, one after another, from a state that has read nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.floors import measure_ceilings
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Report, Row
from modrwkv_core.benchmarking.rivals import (
    FLA,
    LLAMA,
    RWKV_PIP,
    MissingRivalError,
    causal_step,
    fla_model,
    llama,
    official_rwkv,
    official_step,
)
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize, random_model
from modrwkv_core.interfaces.decoding import BackboneDecoder, Decoder

__all__ = ["bench_decode"]

CPU_WEIGHTS = {"float32": 4, "bfloat16": 2, "int8": 1}
CONTEXT = 512  # tokens that a Transformer's cache begins with
RUN = 16  # tokens that are decoded before the device is waited for

Step = Callable[[Tensor], Tensor]


def bench_decode(size: ModelSize, *, rows: tuple[int, ...], device: str, seconds: float) -> Report:
    """Measure greedy decoding of ``rows`` sequences together, ours and the rivals' in turns.

    A turn is a run of tokens, each the likeliest behind the one before, and ends when the device has found the last.
    On the CPU ours is measured with weights in float32, bfloat16 and int8, and the rivals in float32; on a GPU all in
    bfloat16. The floor is the time that reading the weights once, and reading and writing the states, takes.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    report = Report(
        "decode",
        "token",
        {
            "layers": size.num_layers,
            "width": size.hidden_size,
            "vocabulary": size.vocab,
            "context of rivals with a cache": CONTEXT,
            "tokens in a row": RUN,
        },
        fingerprint(device),
    )
    ceilings = measure_ceilings(device, dtype)
    weights, state_bytes = size.step_weights(), size.num_layers * size.hidden_size * HEAD_SIZE * 4
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pth"
        model = random_model(size, checkpoint).to(device, dtype)
        for count in rows:
            steps, bytes_of = _ours(model, count, dtype)
            for rival, make in _rivals(size, checkpoint, count, device, dtype).items():
                try:
                    steps[rival] = make()
                    bytes_of[rival] = dtype.itemsize
                except MissingRivalError as missing:
                    report.missing[rival] = str(missing)
            cases = {name: _in_a_row(step, count, device) for name, step in steps.items()}
            for name, timing in interleave(cases, seconds=seconds / len(rows), device=device).items():
                floor = ceilings.floor(weights * bytes_of[name] + 2 * count * state_bytes, 2 * weights * count)
                work = f"{count} rows" if count > 1 else "1 row"
                report.rows.append(Row(work, name, timing, RUN * count, RUN * floor))
    return report


def _in_a_row(step: Step, rows: int, device: str) -> Callable[[], object]:
    ids = torch.ones(rows, dtype=torch.int64, device=device)

    def run() -> None:
        nonlocal ids
        for _ in range(RUN):
            ids = step(ids).argmax(-1)

    return run


def _ours(model: RWKV7, rows: int, dtype: torch.dtype) -> tuple[dict[str, Step], dict[str, int]]:
    trunk = BackboneDecoder(model)
    ready: dict[str, tuple[Decoder, int]] = {}
    if isinstance(model.decoder(), BackboneDecoder):
        ready["ours"] = (trunk, dtype.itemsize)
    elif model.emb.weight.device.type == "cpu":
        for weights in ("bfloat16", "int8", "float32"):
            ready[f"ours, {weights} weights"] = (model.decoder(weights), CPU_WEIGHTS[weights])
        ready["ours, trunk"] = (trunk, dtype.itemsize)
    else:
        ready["ours"] = (model.decoder(), dtype.itemsize)
        ready["ours, trunk"] = (trunk, dtype.itemsize)
    steps: dict[str, Step] = {name: decoder.start(model.init_state(rows)).step for name, (decoder, _) in ready.items()}
    return steps, {name: size for name, (_, size) in ready.items()}


def _rivals(
    size: ModelSize, checkpoint: Path, rows: int, device: str, dtype: torch.dtype
) -> dict[str, Callable[[], Step]]:
    def official() -> Step:
        if rows > 1:
            raise MissingRivalError("it decodes one sequence at a time")
        strategy = "cpu fp32" if device == "cpu" else "cuda bf16"
        return official_step(official_rwkv(checkpoint, strategy), [1, 2, 3])

    return {
        RWKV_PIP: official,
        FLA: lambda: causal_step(fla_model(size, device, dtype), rows, CONTEXT, device),
        LLAMA: lambda: causal_step(llama(size, device, dtype), rows, CONTEXT, device),
    }
