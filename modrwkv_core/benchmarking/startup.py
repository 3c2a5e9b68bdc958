"""``modrwkv bench startup``: processor time from the start of a process to its end, beside the budget."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Row, TimeReport

__all__ = ["bench_startup"]

_PROGRAM = ("-c", "from modrwkv_core.cli.main import main; main()")
# What starts, the arguments of Python, and the budget in seconds.
CASES: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("python -c pass", ("-c", "pass"), None),
    ("import modrwkv_core", ("-c", "import modrwkv_core"), None),
    ("modrwkv --help", (*_PROGRAM, "--help"), 0.3),
    ("modrwkv plugins list", (*_PROGRAM, "plugins", "list"), 0.3),
    ("modrwkv schema", (*_PROGRAM, "schema"), None),
    ("import torch", ("-c", "import torch"), None),
)


def bench_startup(*, seconds: float) -> TimeReport:
    """Measure each case in fresh processes, in turns. Processor time counts: other programs do not change it much."""
    report = TimeReport("startup", {"clock": "processor time"}, fingerprint("cpu"), "start", bound="budget")
    cases: dict[str, Callable[[], object]] = {
        work: partial(subprocess.run, [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        for work, arguments, _ in CASES
    }
    timings = interleave(cases, seconds=seconds, clock=_time_of_children)
    report.rows = [Row(work, "fresh process", timings[work], 1, budget) for work, _, budget in CASES]
    return report


def _time_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
