"""WKV-7's Triton kernels: right on the interpreter, and compiled within what a multiprocessor has."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from modrwkv_kernels import explain_dispatch, wkv7, wkv7_step

pytest.importorskip("triton", reason="Triton is not installed")


def test_interpreted_kernels_agree_with_float64(interpreted):
    assert interpreted("wkv7_triton_check.py") == {"cases": 13, "beyond": {}}


def test_unavailable_reasons(bench):
    assert "CUDA device, not on cpu" in explain_dispatch().reasons["triton"]
    assert "float64" in explain_dispatch(device="cuda", dtype=torch.float64, chunk_size=16).reasons["triton"]
    assert "chunks of (16, 32)" in explain_dispatch(device="cuda", chunk_size=64).reasons["triton"]
    assert "not 48" in explain_dispatch(device="cuda", head_size=48).reasons["triton"]
    if not torch.cuda.is_available():
        assert "no CUDA device" in explain_dispatch(device="cuda").reasons["triton"]
    six = bench.inputs("easy", 1, 3, 1, 32, dtype=torch.float32)
    with pytest.raises(ValueError, match="'triton' is unavailable here: it takes tensors on a CUDA device, not on cpu"):
        wkv7(*six, backend="triton")
    with pytest.raises(ValueError, match="'triton' is unavailable here"):
        wkv7_step(*(x[:, 0] for x in six), bench.state(1, 1, 32, dtype=torch.float32), backend="triton")


# Kernel, its module, what is None, its constants, warps, and the most registers, bytes of stack, KiB of memory.
SAVED = ("y", "final", "chunk_states", "u", "state", "entering", "reading", "direct")
SAVED_BACK = ("dends", "du", "dinitial", "dstate", "returning", "returned")
SCAN = {"C": 16, "PARTS": 2, "STAGES": 3}
KERNELS = [
    ("prepare_kernel", "forward", (), {"C": 16, "PARTS": 2, "STAGES": 3}, 1, 255, 96, 28),
    ("prepare_kernel", "forward", ("bounds",), {"C": 16, "PARTS": 2, "STAGES": 3}, 1, 255, 32, 28),
    ("chunk_scan_kernel", "forward", (), {**SCAN, "VALUES": 64}, 4, 255, 0, 96),
    ("chunk_scan_kernel", "forward", (), {**SCAN, "VALUES": 16}, 1, 255, 64, 64),
    ("chunk_scan_kernel", "forward", SAVED, {**SCAN, "VALUES": 64}, 4, 255, 0, 64),
    ("reverse_scan_kernel", "backward", (), {**SCAN, "VALUES": 64}, 4, 255, 0, 96),
    ("reverse_scan_kernel", "backward", (), {**SCAN, "VALUES": 16}, 1, 255, 64, 64),
    ("reverse_scan_kernel", "backward", SAVED_BACK, {**SCAN, "VALUES": 64}, 4, 255, 0, 64),
    ("gradient_kernel", "backward", (), {"C": 16}, 4, 255, 0, 32),
    ("gradient_kernel", "backward", (), {"C": 32}, 4, 168, 48, 64),
    ("step_kernel", "step", (), {"VALUES": 16}, 1, 128, 0, 4),
]
FLOAT32 = {"log_w", "dlog_w", "chunk_decay", "state", "final", "dstate", "dinitial", "operators", "out"}


def compiled(name, module, absent, constants, warps, registers, capability):
    """Compile a kernel for packed bfloat16 tensors, without a GPU."""
    from importlib import import_module

    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(import_module(f"modrwkv_kernels.wkv_triton.{module}"), name)
    names = kernel.arg_names
    constants = {"heads": 32, "N": 64, "OPERAND": tl.bfloat16, "PRECISION": "ieee", "SOLVE": "tf32"} | constants
    constants = {name: value for name, value in constants.items() if name in names} | dict.fromkeys(absent)

    def kind(name):
        if name in constants:
            return "constexpr"
        if name in ("sequences", "tokens", "segment", "total"):
            return "i32"
        if name in ("bounds", "slots"):
            return "*i64"
        return "*fp32" if name in FLOAT32 else "*bf16"

    signature = {name: kind(name) for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n == "segment" or signature[n][0] == "*"}
    source = ASTSource(kernel, signature, {(names.index(n),): value for n, value in constants.items()}, aligned)
    return triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "maxnreg": registers}
    )


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
@pytest.mark.parametrize(
    ("name", "module", "absent", "constants", "warps", "registers", "stack", "kibibytes"),
    KERNELS,
    ids=[
        f"{name}-{'-'.join(map(str, constants.values()))}-{len(absent)}" for name, _, absent, constants, *_ in KERNELS
    ],
)
def test_compiles_within_its_means(
    tmp_path, name, module, absent, constants, warps, registers, stack, kibibytes, capability
):
    import triton

    if constants.get("C") == 32 and capability != 90:
        pytest.skip("blocks of 32 tokens are for Hopper")
    kernel = compiled(name, module, absent, constants, warps, registers, capability)
    (tmp_path / "kernel.cubin").write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run(
        [tool, "-res-usage", tmp_path / "kernel.cubin"], capture_output=True, text=True, check=True
    ).stdout
    assert int(re.search(r"REG:(\d+)", usage)[1]) <= registers
    assert int(re.search(r"STACK:(\d+)", usage)[1]) <= stack
    assert kernel.metadata.shared <= 1024 * kibibytes
