"""Attention whose gradients are finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["no_cudnn_attention"]


@contextmanager
def no_cudnn_attention() -> Iterator[None]:
    """Let ``scaled_dot_product_attention`` choose among the kernels other than cuDNN's; afterwards as before.

    The backward pass of cuDNN's kernel returns NaN for some lengths, among them 64, if there is a mask and scores are
    far below zero. Flash and memory-efficient attention serve the same calls.

    Source: https://github.com/pytorch/pytorch/issues/196678
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
