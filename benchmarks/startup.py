"""Start-up times: how long a user waits before anything happens.

Run as ``python benchmarks/startup.py [--runs N]``. Every case runs once to warm the caches and then N times in a fresh
process; the cases take turns, so that a change of load meets all of them. Prints a table and a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from fingerprint import fingerprint

PROGRAM = [sys.executable, "-c", "from modrwkv_core.cli.main import main; main()"]
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import modrwkv_core": [sys.executable, "-c", "import modrwkv_core"],
    "modrwkv --help": [*PROGRAM, "--help"],
    "modrwkv plugins list": [*PROGRAM, "plugins", "list"],
    "modrwkv schema": [*PROGRAM, "schema"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def measure(command: list[str]) -> float:
    """Return the seconds that ``command`` takes in a fresh process."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Measure all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="measured runs of each case (default: 10)")
    runs = parser.parse_args().runs
    machine = fingerprint()
    for command in CASES.values():
        measure(command)
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(runs):
        for case, command in CASES.items():
            seconds[case].append(measure(command))
    print(f"{'start-up':<22}{'median':>10}{'fastest':>10}")
    for case, times in seconds.items():
        print(f"{case:<22}{statistics.median(times) * 1000:>7.0f} ms{min(times) * 1000:>7.0f} ms")
    medians = {case: round(statistics.median(times), 4) for case, times in seconds.items()}
    print(json.dumps({"benchmark": "startup", "runs": runs, "median_seconds": medians, "machine": machine}, indent=2))


if __name__ == "__main__":
    main()
