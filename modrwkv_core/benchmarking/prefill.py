"""``modrwkv bench prefill``: tokens per second of a prompt, up to the logits of its last token."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from modrwkv_kernels import linear
from torch.utils.flop_counter import FlopCounterMode, register_flop_formula

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.baselines import LLAMA, RWKV_PIP, MissingBaselineError, llama, official_rwkv
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.llama_cpp import LLAMA_CPP, LlamaCpp
from modrwkv_core.benchmarking.random_weights import random_backbone
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.roofline import measure_roofline
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.interop.gguf import OutType

__all__ = ["bench_prefill"]


def bench_prefill(size: ModelSize, *, tokens: int, device: str, seconds: float) -> TimeReport:
    """Measure the prefill of one prompt of ``tokens``; float32 on the CPU, bfloat16 on a GPU.

    llama.cpp is measured on the CPU, with matrices in bf16 and q8_0.

    The bound is that of the matrix products, or of reading the weights once. Only products that ours computes count: it
    leaves out what no later token needs and, where a kernel skips them, products with zeros.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    settings = {
        "layers": size.num_layers,
        "hidden size": size.hidden_size,
        "vocabulary": size.vocab_size,
        "tokens": tokens,
        "dtype": str(dtype),
    }
    report = TimeReport("prefill", settings, fingerprint(device), "token")
    roofline = measure_roofline(device, dtype, linear)
    ids = torch.randint(0, size.vocab_size, (1, tokens), generator=torch.Generator().manual_seed(1)).to(device)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "model.pth"
        model = random_backbone(size, checkpoint).to(device, dtype)
        cases: dict[str, Callable[[], object]] = {"ours": lambda: _prefill(model, ids)}
        for baseline, make in _baselines(size, model, checkpoint, ids, device, dtype).items():
            try:
                cases[baseline] = make()
            except MissingBaselineError as missing:
                report.missing[baseline] = str(missing)
        blocks, head = size.block_parameters(), size.vocab_size * size.hidden_size
        bound = roofline.bound((blocks + head) * dtype.itemsize, _product_flops(model, ids))
        for name, timing in interleave(cases, seconds=seconds, device=device).items():
            report.rows.append(Row(f"{tokens} tokens", name, timing, tokens, bound))
    return report


def _product_flops(model: RWKV7, ids: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counted:
        _prefill(model, ids)
    flops: int = counted.get_total_flops()
    return flops


@register_flop_formula([torch.ops.modrwkv_kernels.linear_amx, torch.ops.modrwkv_kernels.linear_few], get_raw=True)
def _dense_flops(x: torch.Tensor, weight: torch.Tensor, **_: object) -> int:
    return 2 * x.numel() * len(weight)


@register_flop_formula(torch.ops.modrwkv_kernels.linear_sparse, get_raw=True)
def _sparse_flops(x: torch.Tensor, weight: torch.Tensor, **_: object) -> int:
    return 2 * int(x.count_nonzero()) * len(weight)


@torch.inference_mode()
def _prefill(model: RWKV7, ids: torch.Tensor) -> torch.Tensor:
    last, _ = model.prefill(model.embed(ids))
    return model.logits(last)


def _baselines(
    size: ModelSize, model: RWKV7, checkpoint: Path, ids: torch.Tensor, device: str, dtype: torch.dtype
) -> dict[str, Callable[[], Callable[[], object]]]:
    def official() -> Callable[[], object]:
        baseline = official_rwkv(checkpoint, "cpu fp32" if device == "cpu" else "cuda bf16")
        prompt = ids[0].tolist()
        return lambda: baseline.forward(prompt, None)

    def transformer() -> Callable[[], object]:
        baseline = llama(size, device, dtype).eval()

        @torch.inference_mode()
        def prefill() -> object:
            return baseline(ids, use_cache=True, logits_to_keep=1).logits

        return prefill

    def llama_cpp(out_type: OutType) -> Callable[[], object]:
        prompt = ids[0].tolist()
        baseline = LlamaCpp(model, checkpoint.parent, out_type, sequences=1, tokens=len(prompt) + 1)
        return lambda: baseline.generate([prompt], 1)

    baselines = {name: partial(llama_cpp, out_type) for name, out_type in LLAMA_CPP.items()}
    return {RWKV_PIP: official, LLAMA: transformer, **baselines}
