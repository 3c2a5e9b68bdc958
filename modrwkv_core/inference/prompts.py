"""Reading prompts of any length in constant memory.

B = conversations read together, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from modrwkv_core.data.batch import Sample
from modrwkv_core.data.packing import pack
from modrwkv_core.interfaces.state import State
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["prefill_segments"]


def prefill_segments(model: MultimodalModel, prompts: Sequence[Iterator[Sample]]) -> tuple[Tensor, State]:
    """Prefill B conversations whose segments are made when they are asked for.

    The first segments are read together, the further ones conversation by conversation. Only one of those is in memory
    at a time: the state holds all that was read before.

    Args:
        model: In inference mode.
        prompts: Of each conversation, its segments, at least one.

    Returns:
        The last hidden vector of each conversation ``[B, D]``, and their state.
    """
    hidden_BD, state = model.prefill(pack([next(prompt) for prompt in prompts]))
    last = list(torch.split(hidden_BD, 1))
    states: list[State] | None = None
    for row, prompt in enumerate(prompts):
        for segment in prompt:
            if states is None:
                states = [state.select([index]) for index in range(len(prompts))]
            last[row], states[row] = model.prefill(pack([segment]), states[row])
            del segment  # before the next one is made
    return (hidden_BD, state) if states is None else (torch.cat(last), type(state).stack(states))
