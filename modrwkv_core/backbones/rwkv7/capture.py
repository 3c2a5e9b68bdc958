"""Capture of CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ["capture"]

_WARM_UP = 2

Result = TypeVar("Result")


def capture(
    run: Callable[[], Result], warm_up: Callable[[], object], device: torch.device
) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Capture what ``run`` launches.

    Args:
        run: Launches kernels on ``device`` and does not wait for them.
        warm_up: Does the same elsewhere: what is compiled and chosen in a first run must be so before the capture.
        device: A GPU, current or not.

    Returns:
        The graph, and what ``run`` has returned, which each replay writes anew.
    """
    # A capture takes what is launched on its own device only.
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                warm_up()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            result = run()
    return graph, result
