"""The Triton kernels of the fused functions: right on the interpreter, and compiled without spilling."""

import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interpreted_kernels_agree_with_float64(interpreted):
    assert interpreted("fused_check.py") == {"cases": 13, "beyond": {}}


# Kernel, what differs between its variants, warps, and the most registers a thread may take.
KERNELS = [
    ("token_shift", "_token_shift_forward", {"STRETCH": 16, "BLOCK": 2048, "MIXES": 6, "update": None}, 8, 128),
    ("token_shift", "_token_shift_forward", {"STRETCH": 16, "BLOCK": 2048, "MIXES": 1}, 8, 80),
    ("token_shift", "_token_shift_backward", {"STRETCH": 64, "BLOCK": 2048, "MIXES": 6, "dsummed": None}, 16, 128),
    ("token_shift", "_token_shift_backward", {"STRETCH": 64, "BLOCK": 2048, "MIXES": 1}, 16, 80),
    ("k_update", "_k_update_forward", {"SIZE": 64, "TILE": 16, "RESIDUAL": True}, 4, 64),
    ("k_update", "_k_update_backward", {"SIZE": 64, "TILE": 16, "RESIDUAL": True, "TOKENS": 256}, 4, 128),
    ("gate_output", "_gate_output_forward", {"SIZE": 64, "TILE": 16}, 4, 64),
    ("gate_output", "_gate_output_backward", {"SIZE": 64, "TILE": 16, "TOKENS": 256}, 4, 128),
    ("relu_squared", "_relu_squared_forward", {"BLOCK": 2048}, 4, 40),
    ("relu_squared", "_relu_squared_backward", {"BLOCK": 2048}, 4, 48),
    ("cross_entropy", "_cross_entropy", {"VOCABULARY": 65536, "GRADIENT": True, "BLOCK": 8192}, 16, 80),
]
FLOAT32 = {"statistics", "dweights", "log_w", "dlog_w", "losses"}
SCALARS = {"length": "i32", "tokens": "i32", "width": "i32", "heads": "i32", "elements": "i32"}
SCALARS |= dict.fromkeys(("eps", "log_decay_min", "length_min"), "fp32")


def compiled(module, name, constants, warps, capability):
    """Compile a kernel for bfloat16 tensors, without a GPU."""
    from importlib import import_module

    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(import_module(f"modrwkv_kernels.fused.{module}_triton"), name)
    names = function.arg_names
    constants = dict(constants)
    if "UPDATE" in names:
        constants["UPDATE"] = "update" not in constants
    if "SUMMED" in names:
        constants["SUMMED"] = "dsummed" not in constants
    if "PACKED" in names:
        constants |= {"PACKED": False, "starts": None}
    signature, aligned = {}, {}
    for index, argument in enumerate(names):
        if argument in constants:
            signature[argument] = "constexpr"
            continue
        pointer = "*fp32" if argument in FLOAT32 else "*i64" if argument == "ids" else "*bf16"
        signature[argument] = SCALARS.get(argument, pointer)
        if signature[argument] == pointer or argument in ("width", "elements"):
            aligned[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(function, signature, {(names.index(n),): value for n, value in constants.items()}, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})


def resources(kernel, folder):
    """Registers and bytes of spills of a thread."""
    import triton

    cubin = folder / "kernel.cubin"
    cubin.write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    return found["REG"], found["STACK"] + found["LOCAL"]


@pytest.mark.parametrize(("module", "name", "constants", "warps", "registers"), KERNELS)
@pytest.mark.parametrize(
    "capability", [pytest.param(80, marks=pytest.mark.slow), 90, pytest.param(120, marks=pytest.mark.slow)]
)
def test_kernels_compile_without_spills(tmp_path, module, name, constants, warps, registers, capability):
    kernel = compiled(module, name, constants, warps, capability)
    used, spilled = resources(kernel, tmp_path)
    assert used <= registers
    assert spilled <= 16  # A stack frame, or two values: nothing that a loop would feel.
    assert kernel.metadata.shared <= 4096
    # Sixteen bytes at a time, or eight where a token is spread over twice the warps.
    wide = "ld.global.v2" if name == "_token_shift_backward" else "ld.global.v4"
    assert wide in re.sub(r"ld\.global\.\S*(v[24])\S*", r"ld.global.\1", kernel.asm["ptx"])
