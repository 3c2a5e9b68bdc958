"""Inputs like those an RWKV-7 layer makes, from gentle to nasty, and the error measure."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from modrwkv_kernels import LOG_DECAY_MIN, explain_dispatch, wkv7
from torch import Tensor

NAMES = ("y", "final state", "dr", "dlog_w", "dk", "dv", "da", "db", "dstate")


class Workbench:
    """Makes inputs, runs backends on them, measures errors."""

    kinds = ("easy", "correlated keys", "strongest decay", "no decay")
    names = NAMES

    @staticmethod
    def inputs(
        kind: str, batch: int, tokens: int, heads: int, size: int, *, dtype: torch.dtype = torch.float64, seed: int = 0
    ) -> list[Tensor]:
        """The six inputs `[batch, tokens, heads, size]`."""
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        shape = (batch, tokens, heads, size)
        direction, alpha, decay = normal(*shape), normal(*shape).sigmoid(), LOG_DECAY_MIN * normal(*shape).sigmoid()
        if kind == "correlated keys":
            direction = normal(1, 1, heads, size) + 0.1 * direction
            alpha = (normal(*shape) + 6).sigmoid()
            decay = LOG_DECAY_MIN * (normal(*shape) - 6).sigmoid()
        elif kind == "strongest decay":
            decay = torch.full(shape, LOG_DECAY_MIN, dtype=torch.float64)
        elif kind == "no decay":
            decay = torch.zeros(shape, dtype=torch.float64)
        direction = torch.nn.functional.normalize(direction, dim=-1)
        six = (normal(*shape), decay, 0.3 * normal(*shape), normal(*shape), -direction, direction * alpha)
        return [x.to(dtype) for x in six]

    @staticmethod
    def state(sequences: int, heads: int, size: int, *, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
        """An initial state `[sequences, heads, size, size]`."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(sequences, heads, size, size, generator=generator, dtype=torch.float64).to(dtype)

    @staticmethod
    def results(six: list[Tensor], state: Tensor, **options: object) -> list[Tensor]:
        """Output, final state and the gradients of a random projection of both, in the order of `names`."""
        six = [x.detach().clone().requires_grad_() for x in six]
        state = state.detach().clone().requires_grad_()
        y, final = wkv7(*six, state=state, output_state=True, **options)
        generator = torch.Generator().manual_seed(2)
        # What bfloat16 can hold is the same projection in every dtype.
        weights = [torch.randn(x.shape, generator=generator).bfloat16().to(x) for x in (y, final)]
        loss = (y * weights[0]).sum() + (final * weights[1]).sum()
        return [y, final, *torch.autograd.grad(loss, [*six, state], materialize_grads=True)]

    @staticmethod
    def error(x: Tensor, truth: Tensor) -> float:
        """Relative error in the Frobenius norm; absolute where the truth is zero."""
        truth = truth.double()
        norm = truth.norm().item()
        return ((x.double() - truth).norm() / (norm or 1.0)).item()


@pytest.fixture(autouse=True)
def _skip_what_was_not_compiled(request: pytest.FixtureRequest) -> None:
    """Tests of the cpu backend say why they are skipped where it is missing."""
    call = getattr(request.node, "callspec", None)
    if "cpu" in request.node.name or (call is not None and "cpu" in call.params.values()):
        reason = explain_dispatch().reasons["cpu"]
        if reason is not None:
            pytest.skip(reason)


@pytest.fixture(scope="session")
def bench() -> Workbench:
    return Workbench()


@pytest.fixture
def interpreted() -> Callable[[str], Any]:
    """Runs a check of Triton's kernels on its interpreter, in float32, and returns its judgement."""

    def run(script: str) -> Any:
        result = subprocess.run(
            [sys.executable, str(Path(__file__).with_name(script)), "cpu", "float32"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(result.stdout)

    return run


@pytest.fixture(scope="session")
def hatch_build() -> Any:
    """What compiles the CPU kernels."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("kernels_hatch_build", Path(__file__).parents[1] / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def on_threads() -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Runs a function on one thread and on three, and returns both results."""

    def run(function: Callable[[], Any]) -> tuple[Any, Any]:
        before, results = torch.get_num_threads(), []
        try:
            for threads in (1, 3):
                torch.set_num_threads(threads)
                results.append(function())
        finally:
            torch.set_num_threads(before)
        return results[0], results[1]

    return run


# Runs scripts that arrive as lines of JSON, and answers with what they print.
RUN_SCRIPTS = """
import contextlib, io, json, sys
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(json.loads(line), {})
    print(json.dumps(printed.getvalue()), flush=True)
"""


@pytest.fixture(scope="session")
def process_of_instruction_set() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A process with one translation of the CPU kernels; all tests share it, because it has to import torch."""
    processes: dict[str, subprocess.Popen[str]] = {}

    def process(isa: str) -> subprocess.Popen[str]:
        if isa not in processes:
            processes[isa] = subprocess.Popen(
                [sys.executable, "-c", RUN_SCRIPTS, str(Path(__file__).parent)],
                env=os.environ | {"ATEN_CPU_CAPABILITY": "default" if isa == "portable" else isa},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return processes[isa]

    yield process
    for each in processes.values():
        each.communicate()


@pytest.fixture(params=["portable", "avx2", "avx512"])
def on_instruction_set(
    request: pytest.FixtureRequest, process_of_instruction_set: Callable[[str], subprocess.Popen[str]]
) -> Callable[[str], float]:
    """Runs a script with one translation of the CPU kernels, and returns the error that it prints after its name."""
    isa, best = request.param, torch.backends.cpu.get_cpu_capability()
    if isa not in ("portable", *{"AVX512": ("avx2", "avx512"), "AVX2": ("avx2",)}.get(best, ())):
        pytest.skip(f"this machine has no {isa}")

    def run(script: str) -> float:
        process = process_of_instruction_set(isa)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps(script)}\n")
        process.stdin.flush()
        name, error = json.loads(process.stdout.readline()).split()
        assert name == isa
        return float(error)

    return run
