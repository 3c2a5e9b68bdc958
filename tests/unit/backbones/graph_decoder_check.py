"""Decode in a pool of states on a device and judge how far logits and states are from the backbone's.

A script of its own, because Triton decides when it is imported whether its interpreter runs the kernels. Without a
GPU: ``TRITON_INTERPRET=1 python graph_decoder_check.py cpu``. Prints as JSON how many cases there are and the relative
errors of those beyond the bar.
"""

from __future__ import annotations

import json
import sys

import torch

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.backbones.rwkv7.graph_decoder import GraphDecoder

BAR = 1e-5


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


@torch.no_grad()
def errors(device: str) -> dict[str, float]:
    """Rows come and go, among them more than the pool began with."""
    torch.manual_seed(0)
    model = RWKV7(RWKV7Config(num_layers=2, hidden_size=64, head_dim=32), 50)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    model.to(device)
    decoder = GraphDecoder(model)
    found: dict[str, float] = {}

    def follow(name: str, decoding, state, ids) -> None:
        logits = decoding.step(ids.to(device))
        hidden, after = model(model.embed(ids.to(device)[:, None]), state)
        found[f"{name}: logits"] = error(logits, model.logits(hidden[:, 0]))
        copies = decoding.state()
        for kind in ("matrix", "time_shift", "channel_shift"):
            found[f"{name}: {kind}"] = error(getattr(copies, kind), getattr(after, kind))
        states[name.split()[0]] = after

    prompt = torch.randint(0, 50, (4, 5)).to(device)
    _, read = model(model.embed(prompt))
    states = {"alone": read.select([0]), "three": read.select([1, 2, 3])}
    alone = decoder.start(states["alone"])
    follow("alone at first", alone, states["alone"], torch.tensor([1]))
    three = decoder.start(states["three"])
    follow("three beside it", three, states["three"], torch.tensor([2, 3, 4]))
    follow("alone in a larger pool", alone, states["alone"], torch.tensor([5]))
    follow("three again", three, states["three"], torch.tensor([6, 7, 8]))
    rows = decoder.pool.states.batch_size
    three.close()
    states["next"] = read.select([3, 2, 1])
    following = decoder.start(states["next"])
    follow("next in the same slots", following, states["next"], torch.tensor([9, 9, 1]))
    follow("alone at last", alone, states["alone"], torch.tensor([2]))
    following.keep([2, 0])
    states["next"] = states["next"].select([2, 0])
    follow("next without one", following, states["next"], torch.tensor([4, 0]))
    following.join(states["alone"])
    states["next"] = type(read).stack([states["next"], states["alone"]])
    follow("next with another", following, states["next"], torch.tensor([0, 7, 3]))
    follow("alone beside its copy", alone, states["alone"], torch.tensor([1]))
    slots = decoder.pool.states.batch_size
    # An engine decodes in inference mode, and what it captured and added serves others afterwards.
    with torch.inference_mode():
        engine = decoder.start(read.fork(2))
        engine.step(torch.zeros(8, dtype=torch.int64, device=device))
        engine.keep([0])
        follow("alone beside an engine", alone, states["alone"], torch.tensor([3]))
        engine.close()
    follow("alone after an engine", alone, states["alone"], torch.tensor([2]))
    assert decoder.pool.states.batch_size > slots
    alone.join(states["alone"])
    found["slots that were added for nothing"] = float(slots - rows)
    return found


def main(device: str) -> None:
    """Print what is beyond the bar."""
    found = errors(device)
    beyond = {name: error for name, error in found.items() if not error < BAR}
    sys.stdout.write(json.dumps({"cases": len(found), "beyond": beyond}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
