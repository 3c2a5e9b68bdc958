"""The next tokens of several jobs.

B = answers, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from modrwkv_core.inference.generation import FinishReason
from modrwkv_core.inference.job import Job
from modrwkv_core.inference.sampler import draw

__all__ = ["draw_tokens"]


def draw_tokens(
    jobs: Sequence[Job], logits_BV: Tensor, not_finite: Callable[[], Exception]
) -> tuple[int, list[tuple[Job, FinishReason]]]:
    """Draw a token for each job and deliver it. What goes wrong is the error of its own job.

    Args:
        jobs: In the order of the rows.
        logits_BV: Of the next token.
        not_finite: Makes the error of logits that hold NaN or infinity.

    Returns:
        How many tokens were delivered, and the jobs that end now, with the reason.
    """
    finite_B = torch.isfinite(logits_BV.sum(dim=-1))  # a sum holds every NaN and infinity
    free = [row for row, job in enumerate(jobs) if job.request.constraint is None]
    drawn = dict(
        zip(
            free,
            draw(logits_BV if len(free) == len(jobs) else logits_BV[free], [jobs[row].sampler for row in free])
            if free
            else (),
            strict=True,
        )
    )
    count = 0
    done: list[tuple[Job, FinishReason]] = []
    for row, (job, is_finite) in enumerate(zip(jobs, finite_B.tolist(), strict=True)):
        reason: FinishReason | None
        try:
            if not is_finite:
                raise not_finite()
            # A constraint can fail, and must not take the others with it.
            reason = job.take(drawn[row] if row in drawn else job.sampler.draw(logits_BV[row]))
            count += 1
        except Exception as error:
            job.error, reason = error, "error"
        if reason is not None:
            done.append((job, reason))
    return count, done
