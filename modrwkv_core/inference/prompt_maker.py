"""Prompts are made on threads of their own, a segment at a time, while an engine answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from modrwkv_core.data.recent_media import RecentMedia
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.job import Job
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.prompt import Prompt
from modrwkv_core.inference.session import Session

__all__ = ["PromptMaker"]


class PromptMaker:
    """Decodes, processes and tokenizes what jobs ask, and brings cached states of it into memory.

    Args:
        session: The model.
        settings: How many threads there are, and what they remember.
        cache: States of the beginnings of prompts; None caches none.
        notify: Called after each segment, on the thread that made it.
    """

    def __init__(
        self, session: Session, settings: EngineSettings, cache: PrefixCache | None, notify: Callable[[], None]
    ) -> None:
        self._session = session
        self._chunk = settings.prefill_chunk
        self._cache = cache
        self._notify = notify
        self._recent = RecentMedia(settings.media_cache_bytes)
        self._threads = ThreadPoolExecutor(settings.processors, "modrwkv-processor")

    def begin(self, job: Job) -> None:
        """Have the first segment of a job's prompt made.

        Raises:
            ModRWKVError: There is no decoder for its head.
        """
        job.prompt = Prompt(self._session, job.request, self._variant(job.head), self._recent)
        self.go_on(job)

    def go_on(self, job: Job) -> None:
        """Have the next segment made: ``job.segment``, or ``job.error``."""
        self._threads.submit(self._make, job)

    def close(self) -> None:
        """Wait for what is being made, and make nothing else."""
        self._threads.shutdown(cancel_futures=True)

    def _make(self, job: Job) -> None:
        try:
            if job.reason_to_end() is None:
                assert job.prompt is not None, "the prompt was begun"
                segment = job.prompt.next_segment()
                if self._cache is not None:
                    self._cache.load([segment.keys[position] for position in sorted(segment.keys, reverse=True)])
                job.segment = segment
        except Exception as error:
            job.error = error
        self._notify()

    def _variant(self, head: str) -> str | None:
        """Return what the bits of cached states depend on besides the weights and what was read; None without a cache.

        Answers are read by the decoder, in its own format of the weights.
        """
        if self._cache is None:
            return None
        return f"{self._session.token_head(head)[1].name}|{self._chunk}|{self._session.model.device}"
