"""``modrwkv bench first-answer``: what the first answers of a fresh process take, with a picture."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize, write_run
from modrwkv_core.benchmarking.random_weights import assemble_at_random
from modrwkv_core.benchmarking.report import Goal, GoalReport
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.model.new_run import write_new_run
from modrwkv_core.model.run import RunFolder

__all__ = ["bench_first_answer"]

ANSWERS: Final = ("first answer", "second answer", "third answer")
ANSWER_TOKENS: Final = 8
GOAL_SECONDS: Final = 3.0
# Prints the seconds from its start until the model is loaded, and those of each answer.
_PROCESS: Final = """
import json, sys, time
import modrwkv_core
run, picture, device, began, answers, tokens = sys.argv[1:]
session = modrwkv_core.load(run, device=device)
seconds = [time.time() - float(began)]
for index in range(int(answers)):
    asked = time.perf_counter()
    session.generate([modrwkv_core.Media("image", picture), f"What is at place {index}?"], max_tokens=int(tokens))
    seconds.append(time.perf_counter() - asked)
print(json.dumps(seconds))
"""


def bench_first_answer(size: MultimodalSize, *, processes: int, device: str) -> GoalReport:
    """Measure the first answers of processes that load the same run, one process after the other.

    The first process may compile kernels, which the later ones find in the cache on disk: the goal is theirs.

    Args:
        size: Of the model, whose weights are random.
        processes: How many are started.
        device: Where they compute.

    Raises:
        ModRWKVError: A process fails.
    """
    settings = {
        "size": str(size.backbone),
        "encoder": f"{size.encoder.num_layers}x{size.encoder.hidden_size}",
        "answer tokens": ANSWER_TOKENS,
    }
    report = GoalReport("first-answer", settings, fingerprint(device))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        loaded = write_run(folder, size, modality="image", train="align", precision="float32", workers=0)
        (folder / "run").mkdir()
        write_new_run(RunFolder(folder / "run"), loaded, assemble_at_random(loaded, device), {})
        for place in range(processes):
            loading, *answers = _ask(folder, device)
            work = f"process {place + 1}"
            report.rows.append(Goal(work, "until loaded", loading, "s"))
            for number, (what, seconds) in enumerate(zip(ANSWERS, answers, strict=True)):
                at_most = GOAL_SECONDS if place > 0 and number == 0 else None
                report.rows.append(Goal(work, what, seconds, "s", at_most=at_most))
    return report


def _ask(folder: Path, device: str) -> list[float]:
    given = [folder / "run", folder / "0.jpg", device, time.time(), len(ANSWERS), ANSWER_TOKENS]
    finished = subprocess.run(
        [sys.executable, "-c", _PROCESS, *map(str, given)], capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        raise ModRWKVError(
            f"a process that should answer has failed: {finished.stderr.strip().splitlines()[-1:]}",
            hint=f"see whether `modrwkv generate` answers on {device}",
        )
    seconds: list[float] = json.loads(finished.stdout)
    return seconds
