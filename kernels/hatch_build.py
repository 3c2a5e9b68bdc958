"""Compiles the CPU kernels when the distribution is built or installed.

The headers come from the torch of the target environment; an isolated build that finds none fetches one of its own.
The build prints its outcome and writes it to `build.json` beside the library: what was compiled against which torch and
ABI, or why nothing was. A failed compilation does not fail the installation. Then plain torch computes, and the import
of `modrwkv_kernels`, `modrwkv_kernels.explain_dispatch()` and `modrwkv doctor` report the reason.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "libwkv7_cpu.so"
PACKAGE_FOLDER = "modrwkv_kernels/_native"
# clang's OpenMP calls another runtime than the one that torch brings, which is GCC's.
COMPILERS = ("c++", "g++")
STANDARD = "c++20"
"""What the headers of torch ask for from 2.14 on; older ones accept it."""
OPS = ("instruction_set", "wkv7_op", "decode_op", "stages_op", "amx_op", "sparse_op", "few_op")
KERNELS = ("wkv7_kernel", "decode_kernel", "stages_kernel", "sparse_kernel")
# Instruction set -> floats per vector, compiler flags, and what is compiled for it.
PORTABLE: dict[str, tuple[int, list[str], tuple[str, ...]]] = {"portable": (4, [], KERNELS)}
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
X86_64 = {
    "avx2": (8, ["-mavx2", "-mfma"], KERNELS),
    "avx512": (16, AVX512, KERNELS),
    "amx": (16, [*AVX512, "-mamx-tile", "-mamx-bf16"], ("amx_kernel",)),
}


class CompileError(Exception):
    """The kernels were not compiled; the message says why."""


def find_torch() -> Path | None:
    """Folder of the torch to compile against: one that can be imported, else that of the environment being built for.

    Isolated builds of pip hide the packages of the environment from `sys.path`, but run its interpreter.
    """
    folders = [*sys.path, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    candidates = (Path(folder) / "torch" for folder in folders)
    return next((folder for folder in candidates if (folder / "include" / "ATen" / "ATen.h").is_file()), None)


def torch_version(torch: Path) -> str:
    """Version of the torch in a folder, read without importing it."""
    found = re.search(r"^__version__ = '([^']+)'", (torch / "version.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{torch} has no version"
    return found.group(1)


def find_compiler() -> list[str]:
    """The command of `$CXX`, or the first compiler that is installed."""
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in [wanted] if wanted else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    looked_for = " ".join(wanted) or ", ".join(COMPILERS)
    raise CompileError(
        f"no C++ compiler was found (looked for {looked_for}); install one, then reinstall modrwkv-kernels"
    )


def compiler_version(compiler: list[str]) -> str:
    """First line of what the compiler says about itself."""
    result = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return next(iter(result.stdout.splitlines()), compiler[0])


def has_new_abi(torch: Path) -> bool:
    """Whether the torch libraries use the newer ABI of the C++ library, whose symbols carry this mark."""
    return b"__cxx11" in (torch / "lib" / "libc10.so").read_bytes()


def run(command: list[str]) -> None:
    """Run the compiler.

    Raises:
        CompileError: It failed; the message holds its first error.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        complaint = next((line for line in result.stderr.splitlines() if "error" in line), result.stderr.strip())
        raise CompileError(f"{command[0]} failed: {complaint}")


def instruction_sets() -> dict[str, tuple[int, list[str], tuple[str, ...]]]:
    """What is compiled on this machine; the processor decides at run time which of them it runs."""
    return PORTABLE | (X86_64 if platform.machine() == "x86_64" else {})


def compile_library(sources: Path, folder: Path, torch: Path, compiler: list[str]) -> None:
    """Compile the kernels once per instruction set and the ops once, and link them into `folder`."""
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(has_new_abi(torch))}"
    common = [f"-std={STANDARD}", "-fPIC", "-fvisibility=hidden", abi]
    with tempfile.TemporaryDirectory() as scratch:
        objects: list[str] = []
        commands: list[list[str]] = []

        def add(source: str, name: str, flags: list[str]) -> None:
            objects.append(str(Path(scratch) / f"{name}.o"))
            commands.append([*compiler, *common, *flags, "-c", str(sources / f"{source}.cpp"), "-o", objects[-1]])

        for op in OPS:
            # Without OpenMP at::parallel_for is a plain loop. Its runtime is not linked: it must be the one of torch.
            add(op, op, ["-O2", "-fopenmp", f"-isystem{torch / 'include'}"])
        for name, (lanes, flags, kernels) in instruction_sets().items():
            defines = [f"-DISA={name}", f"-DLANES={lanes}", "-O3", "-ffp-contract=fast"]
            for kernel in kernels:
                add(kernel, f"{kernel}_{name}", [*defines, *flags])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(run, commands))
        target = ["-o", str(folder / LIBRARY)]
        run([*compiler, "-shared", *objects, f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10", *target])


def build(sources: Path, folder: Path) -> dict[str, Any]:
    """Compile into `folder` and return the record of the build, whose `error` says why nothing was compiled."""
    record: dict[str, Any] = {"error": None, "library": LIBRARY, "standard": STANDARD}
    try:
        if not sys.platform.startswith("linux"):
            raise CompileError(f"the kernels are compiled on Linux only, not on {sys.platform}")
        torch = find_torch()
        if torch is None:
            raise CompileError("no torch was found to compile against; install torch, then reinstall modrwkv-kernels")
        compiler = find_compiler()
        record |= {
            "torch": torch_version(torch),
            "cxx11_abi": has_new_abi(torch),
            "compiler": compiler_version(compiler),
            "instruction_sets": list(instruction_sets()),
        }
        compile_library(sources, folder, torch, compiler)
    except CompileError as error:
        record["error"] = str(error)
    return record


class KernelsBuildHook(BuildHookInterface[Any]):
    """Puts the compiled kernels and the record of the build into the package."""

    def dependencies(self) -> list[str]:
        """What an isolated build needs besides hatchling."""
        return [] if find_torch() else self.metadata.core.dependencies

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into the source tree for an editable installation, else into the wheel."""
        if version == "editable":
            folder = Path(self.root) / "src" / PACKAGE_FOLDER
            folder.mkdir(exist_ok=True)
            # Not overwritten: a running program may have the old one mapped.
            (folder / LIBRARY).unlink(missing_ok=True)
        else:
            folder = Path(tempfile.mkdtemp())
            build_data["force_include"][str(folder)] = PACKAGE_FOLDER
            self._temporary = folder

        record = build(Path(self.root) / "csrc", folder)
        if record["error"] is not None:
            self.app.display_warning(
                f"modrwkv-kernels: the CPU kernels were NOT compiled: {record['error']}\n"
                "modrwkv-kernels: plain torch will compute instead, several times slower"
            )
        else:
            self.app.display_info(
                f"modrwkv-kernels: compiled the CPU kernels for torch {record['torch']} with {record['compiler']}: "
                + ", ".join(record["instruction_sets"])
            )
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        (folder / "build.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the files that the wheel now holds."""
        if version != "editable":
            shutil.rmtree(self._temporary)
