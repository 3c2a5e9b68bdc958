"""Where a run stands: the content of a checkpoint's ``train_state.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modrwkv_core.errors import CheckpointError

__all__ = ["TRAIN_STATE", "AccumulatedMetrics", "BestCheckpoint", "RngState", "SourceFingerprint", "TrainState"]

TRAIN_STATE = "train_state.json"

Count = Annotated[int, Field(ge=0, le=10**15)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class AccumulatedMetrics(_Strict):
    """Sums of metrics since the last log line.

    Attributes:
        sums: By name.
        counts: Steps that went into each sum.
        tokens: Tokens of these steps.
        samples: Their conversations.
        features: Their feature vectors of media.
        padded: The same, with the padding of batches.
        cacheable: Media whose features could have been cached.
        cached: Those whose features were.
        waited: Seconds of waiting for data.
        flops: Their operations.
        seconds: What they took.
    """

    sums: dict[str, float] = {}
    counts: dict[str, Annotated[int, Field(ge=1)]] = {}
    tokens: Count = 0
    samples: Count = 0
    features: Count = 0
    padded: Count = 0
    cacheable: Count = 0
    cached: Count = 0
    waited: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    flops: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    seconds: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _counts_what_it_sums(self) -> Self:
        if self.sums.keys() != self.counts.keys():
            raise ValueError("sums and counts have different names")
        return self


class SourceFingerprint(_Strict):
    """What tells whether a source still holds the records that a run began with.

    Attributes:
        source: The source's name.
        records: How many it holds.
        sample: SHA-256 of some of them, evenly spaced.
    """

    source: str
    records: Count
    sample: str


Hexadecimal = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]


class RngState(_Strict):
    """State of the random generators of one process, as hexadecimal bytes.

    Attributes:
        cpu: That of torch's CPU generator.
        cuda: That of its GPU; None without one.
    """

    cpu: Hexadecimal
    cuda: Hexadecimal | None = None


class BestCheckpoint(_Strict):
    """The best checkpoint of a phase.

    Attributes:
        metric: By what.
        step: The run's step.
        value: What the metric was there.
        stale: Validations since then, none of them better.
        seen: The run's step at the last of them.
    """

    metric: str
    step: Count
    value: Annotated[float, Field(allow_inf_nan=False)]
    stale: Count
    seen: Count


class TrainState(_Strict):
    """Where a run stands.

    Attributes:
        step: Optimizer steps taken since the run's beginning.
        phase: Name of the phase.
        phase_step: Steps taken in the phase, which is also the number of its batches that were used.
        phase_done: Whether all steps of the phase are taken.
        validated: Whether the phase has been validated, too.
        rng_states: The random state of each process.
        metrics_size: Bytes of the metrics that were logged so far.
        accumulated: Metrics that were not logged yet.
        read_records: Records that the phase has read.
        skipped_records: Broken ones among them, which were left out.
        data: The sources of the phase.
        best: The best checkpoint of the phase so far; None before its first validation.
        files: SHA-256 of each file of the checkpoint, by name.
    """

    step: Count
    phase: str
    phase_step: Count
    phase_done: bool
    validated: bool
    rng_states: Annotated[tuple[RngState, ...], Field(min_length=1)]
    metrics_size: Count = 0
    accumulated: AccumulatedMetrics = AccumulatedMetrics()
    read_records: Count = 0
    skipped_records: Count = 0
    data: tuple[SourceFingerprint, ...] = ()
    best: BestCheckpoint | None = None
    files: dict[str, str] = {}

    @model_validator(mode="after")
    def _steps_add_up(self) -> Self:
        if self.phase_step > self.step:
            raise ValueError(f"phase_step is {self.phase_step}, but step {self.step}")
        if self.validated and not self.phase_done:
            raise ValueError("validated, but not done")
        return self

    @classmethod
    def read(cls, checkpoint: Path) -> Self:
        """Read the state of a checkpoint.

        Raises:
            CheckpointError: The file is missing or damaged, or belongs to another step.
        """
        path = checkpoint / TRAIN_STATE
        hint = f"remove {checkpoint} to use an earlier checkpoint"
        try:
            # The strict mode of JSON takes lists for tuples, and nothing else for something else.
            state = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise CheckpointError(f"{path} is damaged: {place}: {first['msg']}", hint=hint) from error
        if checkpoint.name != f"step-{state.step:08d}":
            raise CheckpointError(f"{path} is that of step {state.step}", hint=hint)
        return state
