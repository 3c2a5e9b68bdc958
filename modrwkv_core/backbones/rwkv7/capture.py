"""Capture of CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["capture"]

_WARM_UP = 2

Result = TypeVar("Result")


def capture(
    run: Callable[[], Result],
    warm_up: Callable[[], object] | None,
    device: torch.device,
    pool: Any = None,
) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Capture what ``run`` launches.

    Args:
        run: Launches kernels on ``device`` and does not wait for them.
        warm_up: Does the same elsewhere: what is compiled and chosen in a first run must be so before the capture. None
            if that is done.
        device: A GPU, current or not.
        pool: Memory that it shares with other graphs, which are never replayed at the same time; None for its own.

    Returns:
        The graph, and what ``run`` has returned, which each replay writes anew.
    """
    # A capture takes what is launched on its own device only.
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        if warm_up is not None:
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    warm_up()
            torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Threads that load data allocate pinned memory meanwhile.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            result = run()
    return graph, result
