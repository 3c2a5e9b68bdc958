"""``modrwkv bench accuracy``: relative errors of what the other benchmarks measure the speed of."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from modrwkv_kernels import wkv7
from torch import Tensor

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.random_weights import random_backbone
from modrwkv_core.benchmarking.report import ValueReport
from modrwkv_core.benchmarking.sizes import HEAD_SIZE, ModelSize
from modrwkv_core.benchmarking.wkv7 import backends, random_inputs

__all__ = ["bench_accuracy"]

RESULTS = ("y", "state", "dr", "dlog_w", "dk", "dv", "da", "db", "dstate")
TOKENS, HEADS = 512, 4
DECODED = 8  # tokens


def bench_accuracy(size: ModelSize, *, batch_sizes: tuple[int, ...], device: str) -> ValueReport:
    """Compare the recurrence with float64, and the logits of decoding with the forward pass in float32.

    Args:
        size: Of the model that decodes.
        batch_sizes: Numbers of sequences decoded together.
        device: Where to compute.
    """
    settings = {
        "tokens": TOKENS,
        "heads": HEADS,
        "layers": size.num_layers,
        "hidden size": size.hidden_size,
        "vocabulary": size.vocab_size,
    }
    report = ValueReport("accuracy", settings, fingerprint(device), "relative error")
    for dtype in (torch.bfloat16, torch.float32):
        for hard in (False, True):
            six = random_inputs(1, TOKENS, HEADS, device, torch.bfloat16, hard=hard)
            expected = _results([x.double() for x in six], "torch")
            for backend in backends(device, dtype):
                found = _results([x.to(dtype) for x in six], backend)
                errors = {name: _error(*pair) for name, *pair in zip(RESULTS, found, expected, strict=True)}
                work = f"wkv7, {str(dtype).removeprefix('torch.')}, {'hard' if hard else 'easy'} inputs"
                report.rows.append((work, f"ours, {backend}", errors))
    for weights in ("float32", "bfloat16", "int8") if device == "cpu" else ("auto",):
        for batch_size in batch_sizes:
            error = _decoding_error(size, weights, batch_size, device)
            report.rows.append((f"decoding, batch size {batch_size}", f"ours, {weights} weights", {"logits": error}))
    return report


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


def _results(six: list[Tensor], backend: str) -> list[Tensor]:
    """Output, final state, and the gradients of a fixed projection of both."""
    generator = torch.Generator(six[0].device).manual_seed(1)

    def normal(shape: torch.Size, dtype: torch.dtype) -> Tensor:
        return torch.randn(shape, generator=generator, device=six[0].device).bfloat16().to(dtype)

    state = normal(torch.Size((1, HEADS, HEAD_SIZE, HEAD_SIZE)), torch.promote_types(six[0].dtype, torch.float32))
    leaves = [x.detach().clone().requires_grad_() for x in (*six, state)]
    r, log_w, k, v, a, b, state = leaves
    y, final = wkv7(r, log_w, k, v, a, b, state=state, output_state=True, backend=backend)
    assert final is not None
    directions = [normal(x.shape, x.dtype) for x in (y, final)]
    return [y.detach(), final.detach(), *torch.autograd.grad([y, final], leaves, directions)]


@torch.inference_mode()
def _decoding_error(size: ModelSize, weights: str, batch_size: int, device: str) -> float:
    """Return the worst relative error of the logits over some tokens."""
    with tempfile.TemporaryDirectory() as folder:
        exact = random_backbone(size, Path(folder) / "model.pth").to(device, torch.float32)
        model = random_backbone(size, Path(folder) / "model.pth").to(
            device, torch.float32 if device == "cpu" else torch.bfloat16
        )
    state, worst = exact.init_state(batch_size), 0.0
    with model.decoder(weights).start(model.init_state(batch_size)) as decoding:
        for token in range(DECODED):
            ids = torch.arange(batch_size, device=device) + token
            hidden, state = exact(exact.embed(ids[:, None]), state)
            worst = max(worst, _error(decoding.step(ids), exact.logits(hidden[:, 0]).double()))
    return worst
