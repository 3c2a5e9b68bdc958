"""Decoding on a GPU: is it right, and how fast is it with 1, 32 and 128 rows?

Run as ``python benchmarks/gpu_decode.py [--size LxD] [--seconds N] [--json FILE]``. First compares some tokens with the
trunk's forward pass in float32, then measures what ``modrwkv bench decode`` does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from modrwkv_core.backbones.rwkv7.graph_decoder import GraphDecoder
from modrwkv_core.benchmarking.decode import bench_decode
from modrwkv_core.benchmarking.sizes import ModelSize, random_model

ROWS = (1, 32, 128)
TOKENS = 8


@torch.inference_mode()
def errors(size: ModelSize) -> dict[int, float]:
    """Worst relative error of the logits over some tokens, for each number of rows."""
    with tempfile.TemporaryDirectory() as folder:
        trunk = random_model(size, Path(folder) / "model.pth").to("cuda")
        model = random_model(size, Path(folder) / "model.pth").to("cuda", torch.bfloat16)
    decoder = GraphDecoder(model)
    found = {}
    for rows in ROWS:
        state, worst = trunk.init_state(rows), 0.0
        with decoder.start(model.init_state(rows)) as decoding:
            for token in range(TOKENS):
                ids = torch.arange(rows, device="cuda") + token
                hidden, state = trunk(trunk.embed(ids[:, None]), state)
                expected = trunk.logits(hidden[:, 0])
                worst = max(worst, ((decoding.step(ids) - expected).norm() / expected.norm()).item())
        found[rows] = worst
    return found


def main() -> None:
    """Check, then measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="24x2048", help="layers x width (default: 24x2048)")
    parser.add_argument("--vocab", type=int, default=65536)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    size = ModelSize.parse(arguments.size, arguments.vocab)
    for rows, error in errors(size).items():
        print(f"{rows} rows: logits within {error:.1e} of the trunk in float32")
    report = bench_decode(size, rows=ROWS, device="cuda", seconds=arguments.seconds)
    print(report.table())
    if arguments.json:
        report.write(arguments.json)


if __name__ == "__main__":
    main()
