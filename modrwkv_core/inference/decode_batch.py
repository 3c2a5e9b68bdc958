"""The answers that one token head continues together.

B = answers, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from modrwkv_core.inference.job import Job
from modrwkv_core.interfaces.decoding import Decoder, Decoding
from modrwkv_core.interfaces.guard import Origin, guard
from modrwkv_core.interfaces.state import State

__all__ = ["DecodeBatch"]


class DecodeBatch:
    """Jobs whose answers are continued together, and their states.

    Args:
        decoder: What continues them.
        device: Where it computes.
        origin: Who provides the backbone, for errors.

    Attributes:
        jobs: In the order of the rows.
    """

    def __init__(self, decoder: Decoder, device: torch.device, origin: Origin | None) -> None:
        self.jobs: list[Job] = []
        self._decoder = decoder
        self._device = device
        self._origin = origin
        self._decoding: Decoding | None = None

    def join(self, job: Job, state: State) -> None:
        """Let a job whose first token was drawn go on from ``state``, that of its prompt."""
        with guard(self._origin, "join()"):
            if self._decoding is None:
                self._decoding = self._decoder.start(state)
            else:
                self._decoding.join(state)
        self.jobs.append(job)

    def step(self) -> Tensor:
        """Read the last token of each job, and score the next: ``[B, V]``."""
        assert self._decoding is not None, "nobody has joined"
        ids = torch.tensor([job.last for job in self.jobs]).to(self._device)
        with guard(self._origin, "step()"):
            return self._decoding.step(ids)

    def state(self, job: Job) -> State:
        """Return a copy of the state of a job, which has not read the last token."""
        assert self._decoding is not None, "nobody has joined"
        return self._decoding.state([self.jobs.index(job)])

    def leave(self, jobs: Collection[Job]) -> None:
        """Free the slots of these jobs."""
        rows = [row for row, job in enumerate(self.jobs) if job not in jobs]
        if len(rows) < len(self.jobs):
            assert self._decoding is not None, "nobody has joined"
            self._decoding.keep(rows)
            self.jobs = [self.jobs[row] for row in rows]

    def close(self) -> None:
        """Give back what the decoder lent."""
        if self._decoding is not None:
            self._decoding.close()
