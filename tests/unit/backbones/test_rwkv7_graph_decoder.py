"""Decoding in a pool of states, on Triton's interpreter or in a CUDA graph, against the trunk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.backbones.rwkv7.graph_decoder import GraphDecoder
from modrwkv_core.errors import ComponentError

SCRIPT = Path(__file__).with_name("graph_decoder_check.py")
BAR = 1e-5


def errors(device: str, **environment: str) -> dict[str, float]:
    process = subprocess.run(
        [sys.executable, str(SCRIPT), device], env=os.environ | environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    found: dict[str, float] = json.loads(process.stdout)
    return found


def test_rows_that_come_and_go_equal_the_trunk_when_interpreted() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    found = errors("cpu", TRITON_INTERPRET="1")
    assert len(found) == 6 * 4 + 1
    assert {name: error for name, error in found.items() if not error < BAR} == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rows_that_come_and_go_equal_the_trunk_in_a_graph() -> None:
    found = errors("cuda")
    assert {name: error for name, error in found.items() if not error < BAR} == {}


def test_only_the_models_own_weights_are_offered(make_model: Any) -> None:
    model = make_model(dtype=torch.float32)
    with pytest.raises(ComponentError, match=r"weights cannot be stored as 'int8' on cpu.*\n.*auto or float32"):
        GraphDecoder(model, "int8")
    assert GraphDecoder(model, "float32").pool.rows == 1


def test_why_it_does_not_serve_a_model_on_the_cpu(make_model: Any) -> None:
    assert GraphDecoder.unusable(make_model(dtype=torch.float32)) == "it takes models on a GPU, not on cpu"
