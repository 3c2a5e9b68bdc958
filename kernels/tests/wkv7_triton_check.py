"""Run WKV-7's Triton kernels in every way they can be called and judge their errors against float64.

A script of its own, because Triton decides when it is imported whether its interpreter runs the kernels. Without a
GPU: ``TRITON_INTERPRET=1 python wkv7_triton_check.py cpu float32``. Runs the checks of torch.library, and prints as
JSON how many cases there are and which relative errors of outputs, states and gradients are beyond their bars.
"""

from __future__ import annotations

import json
import sys

import torch
from conftest import Workbench
from modrwkv_kernels import CuSeqlens, wkv7, wkv7_step
from modrwkv_kernels.wkv_triton import launch
from modrwkv_kernels.wkv_triton.plan import Tuning

BENCH = Workbench()
WHOLE = Tuning(programs=1)
SPLIT = Tuning(programs=10_000, shortest=2)
SLICED = Tuning(programs=10_000, shortest=10_000)
# Largest relative error of outputs and states, of gradients, and of gradients that are small differences of large sums:
# that of the decay, and where keys are nearly parallel those of a and b.
BARS = {"float32": (2e-6, 5e-6, 5e-6), "bfloat16": (3.5e-3, 1e-2, 2e-2)}


def let_numpy_convert() -> None:
    """Mend the interpreter, which takes arrays of one element for numbers: numpy 2.4 no longer does."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: object) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


def compare(
    kind: str,
    batch: int,
    tokens: int,
    heads: int,
    size: int,
    device: str,
    dtype: torch.dtype,
    *,
    bounds: list[int] | None = None,
    **options: object,
) -> dict[str, float]:
    """Errors of one call's results, whose memory is filled with NaN before."""
    cu_seqlens = None if bounds is None else CuSeqlens.of(bounds)
    six = BENCH.inputs(kind, batch, tokens, heads, size, dtype=dtype)
    state = BENCH.state(batch if bounds is None else len(bounds) - 1, heads, size, dtype=torch.float32)
    truth = BENCH.results([x.double() for x in six], state.double(), backend="torch", cu_seqlens=cu_seqlens)
    if cu_seqlens is not None:
        options["cu_seqlens"] = cu_seqlens.to(device)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    found = BENCH.results([x.to(device) for x in six], state.to(device), backend="triton", **options)
    torch.use_deterministic_algorithms(False)
    return {name: BENCH.error(x.cpu(), y) for name, x, y in zip(BENCH.names, found, truth, strict=True)}


def compare_steps(device: str, dtype: torch.dtype) -> dict[str, float]:
    """Errors of steps in place on a pool and into fresh states; rows that no slot names must stay."""
    six = BENCH.inputs("easy", 3, 4, 2, 64, dtype=dtype)
    start = BENCH.state(5, 2, 64, dtype=torch.float32)
    slots = torch.tensor([3, 0, 4])
    exact = [x.double() for x in six]
    y, final = wkv7(*exact, state=start[slots].double(), output_state=True, backend="torch")
    pool, fresh = start.to(device), start[slots].to(device)
    errors = {}
    for t in range(4):
        token = [x[:, t].to(device) for x in six]
        y_t, returned = wkv7_step(*token, pool, out=pool, slots=slots.to(device), backend="triton")
        assert returned is pool
        errors[f"y{t} in place"] = BENCH.error(y_t.cpu(), y[:, t])
        y_t, fresh = wkv7_step(*token, fresh, backend="triton")
        errors[f"y{t}"] = BENCH.error(y_t.cpu(), y[:, t])
    assert torch.equal(pool[[1, 2]].cpu(), start[[1, 2]])
    return errors | {"pool": BENCH.error(pool[slots].cpu(), final), "state": BENCH.error(fresh.cpu(), final)}


def check_registration(device: str) -> None:
    """The ops behave as torch.library asks, and a graph holds them whole."""
    six = [x.to(device) for x in BENCH.inputs("easy", 1, 20, 1, 32, dtype=torch.float32)]
    state = BENCH.state(2, 1, 32, dtype=torch.float32).to(device)
    bounds = torch.tensor([0, 3, 20], device=device)
    ops = torch.ops.modrwkv_kernels
    torch.library.opcheck(ops.wkv7_triton.default, (*six, None, None, 16, False))
    y, final, *saved = ops.wkv7_triton(*six, state, bounds, 16, True)
    # Some numbers of blocks stay unused, and so what belongs to them is never written.
    for tensor in saved:
        tensor.nan_to_num_()
    backward = ops.wkv7_triton_backward.default
    torch.library.opcheck(backward, (y, final, *six, *saved, bounds, 16))
    torch.library.opcheck(backward, (None, None, *six, *saved, bounds, 16))
    token = [x[0, :2].contiguous() for x in six]
    torch.library.opcheck(ops.wkv7_triton_step.default, (*token, state, state.clone(), None))

    leaves = [x.requires_grad_() for x in (*six, state[:1].clone())]
    torch.library.opcheck(ops.wkv7_triton.default, (*leaves, None, 16, True))
    compiled = torch.compile(wkv7, fullgraph=True, backend="aot_eager")
    for dtype in (torch.float32, torch.bfloat16) if device != "cpu" else (torch.float32,):
        found = []
        for run in (compiled, wkv7):
            inputs = [x.detach().to(dtype).requires_grad_() for x in leaves[:6]]
            y, final = run(*inputs, state=leaves[6], output_state=True, backend="triton")
            loss = y.float().square().sum() + final.square().sum()
            found.append((y, final, *torch.autograd.grad(loss, (*inputs, leaves[6]))))
        assert all(torch.equal(x, z) for x, z in zip(*found, strict=True))


def measure(device: str, dtype: torch.dtype) -> dict[str, dict[str, float]]:
    """Errors of all cases."""
    large = device != "cpu"
    errors = {}
    launch.TUNING = WHOLE
    for kind in BENCH.kinds:
        errors[f"{kind}, dense"] = compare(kind, 1, 40, 1, 64, device, dtype, chunk_size=32)
    packed = [0, 33, 33, 34, 75, 75]
    errors["packed"] = compare("easy", 1, 75, 2, 32, device, dtype, bounds=packed, chunk_size=16)
    errors["one token"] = compare("easy", 2, 1, 1, 32, device, dtype)
    errors["no token"] = compare("easy", 2, 0, 1, 32, device, dtype)
    errors["no sequence"] = compare("easy", 1, 0, 1, 32, device, dtype, bounds=[0])
    launch.TUNING = SLICED
    errors["slices"] = compare("no decay", 1, 50, 1, 64, device, dtype, chunk_size=32)
    errors["slices, packed"] = compare("easy", 1, 75, 1, 32, device, dtype, bounds=packed, chunk_size=16)
    launch.TUNING = SPLIT
    errors["split"] = compare("no decay", 1, 200, 1, 64, device, dtype, chunk_size=32)
    packed = [0, 40, 40, 41, 141]
    errors["split, packed"] = compare("easy", 1, 141, 1, 32, device, dtype, bounds=packed, chunk_size=16)
    launch.TUNING = Tuning()
    errors["steps"] = compare_steps(device, dtype)
    if large:
        for size in (32, 64):
            for chunk in (16, 32):
                for kind in BENCH.kinds:
                    name = f"{kind}, heads of {size}, chunks of {chunk}"
                    errors[name] = compare(kind, 2, 513, 3, size, device, dtype, chunk_size=chunk)
        errors["long"] = compare("easy", 1, 5000, 2, 64, device, dtype)
    return errors


def main(device: str, dtype: str) -> None:
    """Print what is beyond its bar."""
    bar, gradient_bar, difference_bar = BARS[dtype]
    bars = dict.fromkeys(("dr", "dk", "dv", "dstate"), gradient_bar)
    bars |= dict.fromkeys(("dlog_w", "da", "db"), difference_bar)
    cases = measure(device, getattr(torch, dtype))
    check_registration(device)
    beyond = {
        f"{case}: {name}": error
        for case, errors in cases.items()
        for name, error in errors.items()
        if not error <= bars.get(name, bar)
    }
    sys.stdout.write(json.dumps({"cases": len(cases), "beyond": beyond}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "cpu":
        let_numpy_convert()
    main(*sys.argv[1:])
