"""``modrwkv bench prefill``: tokens per second of reading a prompt, up to the logits of its last token."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from modrwkv_kernels import linear
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.floors import measure_ceilings
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Report, Row
from modrwkv_core.benchmarking.rivals import LLAMA, RWKV_PIP, MissingRivalError, llama, official_rwkv
from modrwkv_core.benchmarking.sizes import ModelSize, random_model

__all__ = ["bench_prefill"]


def bench_prefill(size: ModelSize, *, tokens: int, device: str, seconds: float) -> Report:
    """Measure reading one prompt of ``tokens``; float32 on the CPU, bfloat16 on a GPU.

    The floor is that of the matrix products, or of reading the weights once. Products count as far as ours forms them:
    not for what no later token needs, nor with zeros where these are passed over.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    report = Report(
        "prefill",
        "token",
        {
            "layers": size.num_layers,
            "width": size.hidden_size,
            "vocabulary": size.vocab,
            "tokens": tokens,
            "dtype": str(dtype),
        },
        fingerprint(device),
    )
    ceilings = measure_ceilings(device, dtype, linear)
    ids = torch.randint(0, size.vocab, (1, tokens), generator=torch.Generator().manual_seed(1)).to(device)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pth"
        model = random_model(size, checkpoint).to(device, dtype)
        cases: dict[str, Callable[[], object]] = {"ours": lambda: _read(model, ids)}
        for rival, make in _rivals(size, checkpoint, ids, device, dtype).items():
            try:
                cases[rival] = make()
            except MissingRivalError as missing:
                report.missing[rival] = str(missing)
        blocks, head = size.block_parameters(), size.vocab * size.hidden_size
        floor = ceilings.floor((blocks + head) * dtype.itemsize, _flops_of_products(model, ids))
        for name, timing in interleave(cases, seconds=seconds, device=device).items():
            report.rows.append(Row(f"{tokens} tokens", name, timing, tokens, floor))
    return report


def _flops_of_products(model: RWKV7, ids: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counted:
        _read(model, ids)
    flops: int = counted.get_total_flops()
    return flops


@register_flop_formula([torch.ops.modrwkv_kernels.linear_amx, torch.ops.modrwkv_kernels.linear_few], get_raw=True)
def _flops_of_all(x: torch.Tensor, weight: torch.Tensor, **_: object) -> int:
    return 2 * x.numel() * len(weight)


@register_flop_formula(torch.ops.modrwkv_kernels.linear_sparse, get_raw=True)
def _flops_without_zeros(x: torch.Tensor, weight: torch.Tensor, **_: object) -> int:
    return 2 * int(x.count_nonzero()) * len(weight)


@torch.inference_mode()
def _read(model: RWKV7, ids: torch.Tensor) -> torch.Tensor:
    last, _ = model.read(model.embed(ids))
    return model.logits(last)


def _rivals(
    size: ModelSize, checkpoint: Path, ids: torch.Tensor, device: str, dtype: torch.dtype
) -> dict[str, Callable[[], Callable[[], object]]]:
    def official() -> Callable[[], object]:
        model = official_rwkv(checkpoint, "cpu fp32" if device == "cpu" else "cuda bf16")
        prompt = ids[0].tolist()
        return lambda: model.forward(prompt, None)

    def transformer() -> Callable[[], object]:
        model = llama(size, device, dtype).eval()

        @torch.inference_mode()
        def read() -> object:
            return model(ids, use_cache=True, logits_to_keep=1).logits

        return read

    return {RWKV_PIP: official, LLAMA: transformer}
