"""Continuous batching: requests join and leave one batch between its steps.

B = answers decoded together, V = vocabulary.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import Tensor

from modrwkv_core.errors import EngineError, QueueFullError
from modrwkv_core.inference.decode_batch import DecodeBatch
from modrwkv_core.inference.drawing import draw_tokens
from modrwkv_core.inference.engine_calls import Calls
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.engine_stats import EngineCounts, EngineStats
from modrwkv_core.inference.generation import FinishReason, Generation
from modrwkv_core.inference.job import Job
from modrwkv_core.inference.prefill import Prefill
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.prompt_maker import PromptMaker
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.inference.token_generation import not_finite
from modrwkv_core.interfaces.guard import guard

__all__ = ["Engine"]

ResultT = TypeVar("ResultT")


class Engine:
    """Answers any number of requests with one model.

    One thread owns the device. Between two steps of the batch it lets requests join and leave, and reads a chunk of the
    prompts that wait. Requests of a higher priority go first; those of the same one start in the order in which they
    came, except that none waits for the media of another. Their prompts are read in turns, so that a long one does not
    hold up short ones. The tokens of an answer do not depend on the other requests.

    Media are decoded and processed on other threads: for requests that have a slot and for the few that are next, a
    segment of the prompt at a time, so that memory holds neither all media of a long queue nor a whole film.

    While an engine is open, nothing else may generate with its session.

    Args:
        session: The model.
        settings: Sizes and limits.
    """

    def __init__(self, session: Session, settings: EngineSettings | None = None) -> None:
        self.session = session
        self.settings = settings or EngineSettings()
        self._numbers = count()
        self._changed = threading.Condition()
        self._waiting: list[Job] = []  # for a slot, in their order
        self._reading: list[Job] = []  # the next one of each priority first
        self._batches: dict[str, DecodeBatch] = {}  # by token head
        self._calls = Calls()  # to be made between two steps
        self._wake = False
        self._closing = False
        self._failure: Exception | None = None
        self._cache = self._prefix_cache()
        self._counts = EngineCounts()
        self._prompts = PromptMaker(session, self.settings, self._cache, self._notify)
        self._thread = threading.Thread(target=self._run, name="modrwkv-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, *, on_finish: Callable[[Snapshot | None], None] | None = None) -> Generation:
        """Ask for an answer; returns at once. Thread-safe.

        What is wrong with the conversation or its media ends the generation with that error.

        Args:
            request: What to answer.
            on_finish: Called once, on the engine's thread before the last event, with the state after the answer,
                whether or not the request keeps it; None if it ended with an error or before its prompt was read. It
                must be quick. What it raises is the error of the answer.

        Raises:
            QueueFullError: As many requests are waiting as may.
            EngineError: The engine is closed, or it has failed.
            ModRWKVError: The model has no such head, or the state is another model's.
        """
        head = self.session.head_names.token(request.head)
        if request.state is not None:
            request.state.check(self.session.model_digest)
        with self._changed:
            self._check_open()
            if len(self._waiting) >= self.settings.queue:
                raise QueueFullError(
                    f"{self.settings.queue} requests are waiting already", hint="try again in a moment"
                )
            job = Job(next(self._numbers), request, head, Generation(self._notify), on_finish)
            insort(self._waiting, job, key=lambda job: job.order)
            self._notify()
        return job.generation

    def call(self, work: Callable[[], ResultT]) -> Future[ResultT]:
        """Do something else with the session, such as a forecast, between two steps of the answers. Thread-safe.

        Raises:
            EngineError: The engine is closed, or it has failed.
        """
        with self._changed:
            self._check_open()
            future = self._calls.add(work)
            self._notify()
        return future

    @property
    def failure(self) -> Exception | None:
        """What ended the engine; None while it works, and after :meth:`close`."""
        return self._failure

    def stats(self) -> EngineStats:
        """Return what the engine does and has done. Thread-safe."""
        with self._changed:
            running = self._running()
            return EngineStats(
                **asdict(self._counts),
                running=running,
                waiting=len(self._waiting),
                free_slots=self.settings.slots - running,
                prefix_bytes=0 if self._cache is None else self._cache.nbytes,
            )

    def close(self) -> None:
        """Cancel all requests and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._prompts.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prefix_cache(self) -> PrefixCache | None:
        settings, backbone = self.settings, self.session.model.backbone
        state_type = type(backbone.init_state(1))
        if settings.prefix_cache_bytes == 0 or not state_type.constant_size:
            return None
        return PrefixCache(
            state_type, settings.prefix_cache_bytes, settings.prefix_cache_dir, settings.prefix_cache_disk_bytes
        )

    def _check_open(self) -> None:
        if self._failure is not None:
            raise EngineError(
                f"the engine has failed: {self._failure}", hint="find the cause, then start a new engine"
            ) from self._failure
        if self._closing:
            raise EngineError("the engine is being closed and takes no more requests")

    def _jobs(self) -> list[Job]:
        answering = [job for batch in self._batches.values() for job in batch.jobs]
        return [*self._waiting, *self._reading, *answering]

    def _running(self) -> int:
        return len(self._reading) + sum(len(batch.jobs) for batch in self._batches.values())

    def _notify(self) -> None:
        with self._changed:
            self._wake = True
            self._changed.notify_all()

    # What follows runs on the engine's thread. It changes lists of jobs only while it holds the lock.

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._drop()
                    self._look_ahead()
                    self._admit()
                    self._read()
                    self._decode()
                    self._call()
        except BaseException as error:
            self._failure = error if isinstance(error, Exception) else EngineError(f"{type(error).__name__}: {error}")
        with self._changed:
            self._closing = True
            left = self._jobs()
            self._waiting, self._reading, batches, self._batches = [], [], self._batches, {}
            calls, self._calls = self._calls, Calls()
            self._changed.notify_all()
        calls.end(self._failure)
        for job in left:
            job.error = job.error or self._failure
            job.finish("cancelled", None)
        for batch in batches.values():
            batch.close()

    def _wait(self) -> bool:
        """Wait until there is something to do; return whether to go on."""
        with self._changed:
            if not (self._wake or self._closing or self._can_go_on()):
                remaining = [left for job in self._jobs() if (left := job.remaining_s) is not None]
                self._changed.wait(max(min(remaining), 0) if remaining else None)
            self._wake = False
            return not self._closing

    def _can_go_on(self) -> bool:
        return any(batch.jobs for batch in self._batches.values()) or any(job.can_be_read for job in self._reading)

    def _drop(self) -> None:
        """Let go of what was cancelled, is late or wrong."""
        for job in self._jobs():
            if (reason := job.reason_to_end()) is not None:
                self._end(job, reason)

    def _look_ahead(self) -> None:
        """Have the prompts of those made that can soon start."""
        with self._changed:
            next_jobs = self._waiting[: self.settings.slots - self._running() + self.settings.processors]
        for job in next_jobs:
            if job.prompt is None:
                try:
                    self._prompts.begin(job)
                except Exception as error:
                    job.error = error
                    self._end(job, "error")

    def _admit(self) -> None:
        """Give free slots to jobs that wait and whose prompts have begun to be made."""
        with self._changed:
            ready = [job for job in self._waiting if job.segment is not None]
        for job in ready[: self.settings.slots - self._running()]:
            try:
                self._start(job)
            except Exception as error:
                job.error = error
                self._end(job, "error")
                continue
            with self._changed:
                self._waiting.remove(job)
                self._reading.append(job)

    def _start(self, job: Job) -> None:
        given = job.request.state
        model = self.session.model
        state = None if given is None else given.state.to(model.device)
        if job.head not in self._batches:
            _, decoder = self.session.token_head(job.head)
            batch = DecodeBatch(decoder, model.device, model.backbone.origin)
            with self._changed:
                self._batches[job.head] = batch
        job.start(self.session, Prefill(model, self.settings.prefill_chunk, state, self._cache))

    def _read(self) -> None:
        """Prefill chunks of prompts, of the highest priority in turns."""
        tokens = 0
        while tokens < self.settings.prefill_chunk and (ready := [job for job in self._reading if job.can_be_read]):
            job = max(ready, key=lambda job: job.request.priority)  # the first of several
            try:
                tokens += self._advance(job)
            except Exception as error:
                job.error = error
                self._end(job, "error")

    def _advance(self, job: Job) -> int:
        prefill = job.prefill
        assert prefill is not None, "it has a slot"
        if prefill.needs_segment:
            segment, job.segment = job.segment, None
            assert segment is not None, "it can be read"
            prefill.begin(segment)
            if not segment.is_last:
                self._prompts.go_on(job)
        tokens = prefill.advance()
        self._counts.prompt_tokens += tokens
        with self._changed:
            self._reading.remove(job)
            self._reading.append(job)
        if prefill.is_complete:
            job.cached_tokens = prefill.cached_tokens
            is_cacheable = job.prompt is not None and job.prompt.hash is not None
            self._counts.add_prompt(job.cached_tokens, is_cacheable=is_cacheable)
            assert prefill.hidden is not None
            assert prefill.state is not None
            head = self.session.token_head(job.head)[0]
            with guard(head.origin, "predict()"):
                logits_1V = head.predict(prefill.hidden)
            if not self._draw([job], logits_1V):
                # With the lock: nobody must see the job twice, or not at all.
                with self._changed:
                    self._batches[job.head].join(job, prefill.state)
                    self._reading.remove(job)
                job.prefill = None
        return tokens

    def _decode(self) -> None:
        """Continue all answers by one token."""
        for batch in self._batches.values():
            if batch.jobs:
                self._counts.steps += 1
                self._draw(batch.jobs, batch.step())

    def _call(self) -> None:
        """Make one call that waits."""
        with self._changed:
            run = self._calls.pop()
            self._wake |= bool(self._calls)
        if run is not None:
            run()

    def _draw(self, jobs: Sequence[Job], logits_BV: Tensor) -> bool:
        """Draw a token for each job and end those that are done; return whether one is."""
        count, done = draw_tokens(jobs, logits_BV, partial(not_finite, self.session))
        self._counts.completion_tokens += count
        for job, reason in done:
            self._end(job, reason)
        return bool(done)

    def _end(self, job: Job, reason: FinishReason) -> None:
        """Free what a job holds, and deliver its last event."""
        snapshot = None
        try:
            snapshot = self._snapshot(job)
        except Exception as error:
            job.error = error
        with self._changed:
            for jobs in (self._waiting, self._reading):
                if job in jobs:
                    jobs.remove(job)
            if job.head in self._batches:
                self._batches[job.head].leave([job])
            self._counts.finished += 1
            self._wake = True  # another may start
        # Without the lock: whoever cancels an answer may hold the answer's lock, and waits for this one.
        job.finish(reason, snapshot)

    def _snapshot(self, job: Job) -> Snapshot | None:
        """Return the state after what a job has read and drawn; None if nobody wants it, or there is none.

        The prefix cache takes that of an answer that has ended by itself: the conversation's next turn finds it there.
        """
        if job.error is not None or job.last is None:
            return None
        if job.prefill is not None:
            state = job.prefill.state
        else:
            assert job.prompt is not None, "it was read"
            hash_ = job.prompt.hash if job.last in self.session.ends else None
            if hash_ is None and not job.wants_state:
                return None
            state = self._batches[job.head].state(job)
            if self._cache is not None and hash_ is not None:
                self._cache.put(hash_.key(), state)
        assert state is not None, "the prompt was read"
        return job.snapshot(state, self.session.model_digest) if job.wants_state else None
