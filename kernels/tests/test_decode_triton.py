"""The decoder's Triton kernels: right on the interpreter, and compiled within what a multiprocessor has."""

import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.mark.slow
def test_interpreted_kernels_follow_the_equations(interpreted):
    assert interpreted("decode_triton_check.py") == {"cases": 6, "beyond": {}}


# The sizes of a 1.5B model. Kernel, its constants, warps, most registers.
RANKS = {"DECAY": 96, "RATE": 96, "RESIDUAL": 64, "GATE": 256}
POWERS = {"POWER_DECAY": 128, "POWER_RATE": 128, "POWER_RESIDUAL": 64, "POWER_GATE": 256}
MAPS = {"DECAY": 96, "RATE": 96, "RESIDUAL": 64}
KERNELS = [
    ("mixed_product_kernel", {**MAPS, "TIME": True, "O": 8, "POWER_D": 2048}, 4, 176),
    ("mixed_product_kernel", {**MAPS, "TIME": False, "O": 8, "POWER_D": 2048}, 4, 176),
    ("added_product_kernel", {"INPUTS": 2048, "O": 2, "I": 2048}, 2, 128),
    ("added_product_kernel", {"INPUTS": 8192, "O": 4, "I": 1024}, 2, 255),
    ("norm_kernel", {"POWER_D": 2048}, 4, 80),
    ("normed_product_kernel", {"O": 8, "POWER_D": 2048}, 4, 128),
    ("mix_kernel", {"MIXES": 6, "POWER_D": 2048}, 4, 80),
    ("head_kernel", {**RANKS, **POWERS, "N": 64, "UP": True, "FIRST": False, "WIDTH": 512}, 8, 224),
    ("head_kernel", {**RANKS, **POWERS, "N": 64, "UP": False, "FIRST": True, "WIDTH": 512}, 4, 144),
]
HALF = {"weights", "up", "shift"}


def compiled(name, constants, warps, capability):
    """Compile a kernel for weights in bfloat16, without a GPU."""
    import triton
    from modrwkv_kernels import decode_kernels
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(decode_kernels, name)
    names = kernel.arg_names
    constants = {"D": 2048} | constants
    if "EARLY" in names:
        constants |= {"EARLY": capability >= 90}
    half = HALF | ({"y", "add"} if name == "mix_kernel" else {"x"} if name == "norm_kernel" else set())
    if name == "head_kernel" and not constants["UP"]:
        half |= {"r", "k", "v", "decay", "rate", "residual", "gate", "y"}

    def kind(name):
        if name in constants:
            return "constexpr"
        if name in ("outputs", "batch", "apart"):
            return "i32"
        if name == "slots":
            return "*i64"
        return "*bf16" if name in half else "*fp32"

    signature = {name: kind(name) for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if signature[n][0] == "*"}
    source = ASTSource(kernel, signature, {(names.index(n),): value for n, value in constants.items()}, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
@pytest.mark.parametrize(("name", "constants", "warps", "registers"), KERNELS)
def test_decode_kernels_compile_without_spilling(tmp_path, name, constants, warps, registers, capability):
    import triton

    kernel = compiled(name, constants, warps, capability)
    (tmp_path / "kernel.cubin").write_bytes(kernel.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run(
        [tool, "-res-usage", tmp_path / "kernel.cubin"], capture_output=True, text=True, check=True
    ).stdout
    assert int(re.search(r"REG:(\d+)", usage)[1]) <= registers
    # On Ampere one number of the widest product finds no register.
    assert int(re.search(r"STACK:(\d+)", usage)[1]) <= (8 if capability == 80 else 0)
    assert kernel.metadata.shared <= 16 * 1024
