"""The compiled library: one translation per instruction set, and a reason wherever it is missing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from modrwkv_kernels import explain_dispatch, wkv7
from modrwkv_kernels.native import build_summary, load_library

ON_ONE_INSTRUCTION_SET = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from conftest import Workbench

torch.set_num_threads(1)
bench, worst = Workbench(), 0.0
for kind in bench.kinds:
    for size in (32, 64, 128):
        six = bench.inputs(kind, 1, 40, 1, size, dtype=torch.float32)
        state = bench.state(1, 1, size, dtype=torch.float32)
        truth = bench.results([x.double() for x in six], state.double(), backend="torch")
        found = bench.results(six, state, backend="cpu")
        worst = max(worst, *(bench.error(x, y) for x, y in zip(found, truth)))
print(torch.ops.modrwkv_kernels.wkv7_cpu_isa(), worst)
"""


def test_each_instruction_set_of_cpu(on_instruction_set):
    assert on_instruction_set(ON_ONE_INSTRUCTION_SET) < 1e-6


# Prints how many hundredths of a second each thread worked, most first. Waiting threads must sleep for that, not spin.
WORK_OF_THREADS = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from conftest import Workbench
from modrwkv_kernels import wkv7

def work():
    tasks = Path("/proc/self/task").iterdir()
    return {task.name: sum(map(int, (task / "stat").read_text().rpartition(")")[2].split()[11:13])) for task in tasks}

torch.set_num_threads(2)
six = Workbench().inputs("easy", 1, 1024, 8, 64, dtype=torch.float32)
wkv7(*six, backend="cpu")
before, end = work(), time.monotonic() + 1.5
while time.monotonic() < end:
    wkv7(*six, backend="cpu")
print(*sorted((ticks - before.get(name, 0) for name, ticks in work().items()), reverse=True))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted as Linux does")
def test_heads_are_shared_out_among_threads():
    process = subprocess.run(
        [sys.executable, "-c", WORK_OF_THREADS, str(Path(__file__).parent)],
        env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, *_ = map(int, process.stdout.split())
    assert second > 0.2 * first > 0


def write_record(folder: Path, **fields: Any) -> None:
    record = {"error": None, "library": "libwkv7_cpu.so", "torch": torch.__version__}
    record |= {"cxx11_abi": torch.compiled_with_cxx11_abi()} | fields
    (folder / "build.json").write_text(json.dumps(record))


def test_library_that_was_never_compiled(tmp_path):
    assert "not compiled; install modrwkv-kernels" in load_library(tmp_path)


def test_library_that_could_not_be_compiled(tmp_path):
    write_record(tmp_path, error="no C++ compiler was found")
    assert "not compiled when modrwkv-kernels was installed: no C++ compiler was found" in load_library(tmp_path)


def test_library_of_another_torch(tmp_path):
    write_record(tmp_path, torch="1.13.1+cpu")
    reason = load_library(tmp_path)
    assert f"compiled for torch 1.13.1+cpu but this is torch {torch.__version__}; with hatchling" in reason
    assert "--no-build-isolation" in reason


def test_library_of_another_abi(tmp_path):
    abi = torch.compiled_with_cxx11_abi()
    write_record(tmp_path, cxx11_abi=not abi)
    assert f"cxx11_abi={not abi} but this torch has cxx11_abi={abi}; with hatchling" in load_library(tmp_path)


def test_library_that_cannot_be_loaded(tmp_path):
    write_record(tmp_path)
    assert re.search(r"cannot be loaded: .*No such file.*; with hatchling", load_library(tmp_path))
    (tmp_path / "libwkv7_cpu.so").write_bytes(b"not a library")
    assert re.search(r"cannot be loaded: .*(file too short|invalid ELF header); with hatchling", load_library(tmp_path))


def test_what_was_compiled_is_shown_with_its_torch_and_standard_on_cpu():
    assert f"for torch {torch.__version__}, c++20, " in build_summary()
    assert build_summary().startswith("portable")


def test_what_the_cpu_backend_takes(bench):
    assert explain_dispatch().chosen == "cpu"
    for options, reason in [
        ({"dtype": torch.float64}, "computes in float32, not torch.float64"),
        ({"head_size": 48}, "not 48"),
        ({"device": "meta"}, "in CPU memory"),
    ]:
        dispatch = explain_dispatch(**options)
        assert dispatch.chosen == "torch"
        assert reason in dispatch.reasons["cpu"]
    with pytest.raises(ValueError, match=r"backend 'cpu' is unavailable here: it computes in float32"):
        wkv7(*bench.inputs("easy", 1, 3, 1, 32), backend="cpu")


def test_cpu_op_called_directly_with_bad_input(bench):
    op = torch.ops.modrwkv_kernels.wkv7_cpu
    six = bench.inputs("easy", 1, 3, 1, 32, dtype=torch.float32)
    with pytest.raises(ValueError, match="must not decrease and run from 0 to 3"):
        op(*six, None, torch.tensor([0, 9]), 16, False)
    with pytest.raises(ValueError, match=r"v is .* but must be"):
        op(*six[:3], six[3][:, :2], *six[4:], None, None, 16, False)
    with pytest.raises(ValueError, match="r must be float32"):
        op(*(x.double() for x in six), None, None, 16, False)
    with pytest.raises(ValueError, match="heads of 32, 64 or 128, not 16"):
        op(*(x[..., :16] for x in six), None, None, 16, False)


@pytest.fixture
def build_hook(hatch_build, tmp_path):
    root = Path(hatch_build.__file__).parent
    return hatch_build.KernelsBuildHook(str(root), {}, None, None, str(tmp_path), "wheel")


@pytest.mark.parametrize(
    ("compiler", "reason"), [("no-such-compiler", "no C++ compiler was found"), ("false", "false failed")]
)
def test_build_without_a_working_compiler_succeeds_and_says_why(build_hook, monkeypatch, capsys, compiler, reason):
    monkeypatch.setenv("CXX", compiler)
    build_data = {"force_include": {}}
    build_hook.initialize("standard", build_data)
    ((folder, target),) = build_data["force_include"].items()
    assert target == "modrwkv_kernels/_native"
    assert sorted(path.name for path in Path(folder).iterdir()) == ["build.json"]
    assert reason in load_library(Path(folder))
    printed = "".join(capsys.readouterr())
    assert "the CPU kernels were NOT compiled" in printed
    assert reason in printed
    build_hook.finalize("standard", build_data, "")
    assert not Path(folder).exists()
