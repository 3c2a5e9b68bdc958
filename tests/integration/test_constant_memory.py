"""Memory does not grow with the length of an answer."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from modrwkv_core.inference.session import Session
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble


def tensor_bytes() -> int:
    gc.collect()
    # type() instead of isinstance(): some lazy modules warn when they are asked for their class
    return sum(value.nbytes for value in gc.get_objects() if issubclass(type(value), torch.Tensor))


def words(session: Session, count: int) -> Iterator[str]:
    session.banned = torch.cat([session.banned, torch.tensor([*session.ends])])  # never stop by itself
    return session.stream("Say yes 3 times.", max_tokens=count)


def test_a_long_answer_holds_no_more_tensors_than_a_short_one(
    tiny_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    loaded = load_manifest(tiny_manifest())
    session = Session(loaded, assemble(loaded, pretrained=False).eval(), tmp_path)
    pieces = words(session, 400)
    held = []
    for count, _ in enumerate(pieces):
        if count in (20, 150):
            held.append(tensor_bytes())
    assert len(held) == 2
    assert held[0] == held[1]
