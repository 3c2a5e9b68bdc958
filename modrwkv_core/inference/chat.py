"""A conversation with one person: turn by turn, with media, undo and forks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from modrwkv_core.errors import DataError
from modrwkv_core.inference.conversation import Conversation
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.generation import Generation
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.sessions import SessionStore
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.placeholders import place_media
from modrwkv_core.interfaces.record import Media, Turn

__all__ = ["Chat"]

_UNDO: Final = 64
_MARKERS: Final = 2  # tokens around a medium


class Chat:
    """A conversation, and its forks, of which one is gone on with.

    A turn costs what it adds: what came before is a state. The latest 64 steps of each fork can be undone.

    Args:
        engine: Answers.
        max_tokens: End an answer after this many tokens.
        sampling: How tokens are drawn; by default greedily.
        stop: Texts that end an answer.
        head: Name of the token head that answers; None takes the only one.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        head: str | None = None,
    ) -> None:
        self.attached: tuple[Media, ...] = ()
        """Media that the next question shows, decoded."""
        self.fork_name = "main"
        """Which fork is gone on with."""
        self._engine = engine
        self._session = engine.session
        # One person's forks, none of which may be forgotten.
        self._store = SessionStore(engine, limit=sys.maxsize, max_bytes=sys.maxsize, undo=_UNDO)
        self._forks = {self.fork_name: self._store.create().name}
        self._series: dict[str, Any] = {}  # the latest one, decoded, by the key of the state that has read it
        self._request = partial(
            Request, max_tokens=max_tokens, sampling=sampling or Sampling(), stop=tuple(stop), head=head
        )

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities that the model takes."""
        return list(self._session.conversations.preprocessors)

    @property
    def forks(self) -> list[str]:
        """Names of all forks, in the order in which they were made."""
        return list(self._forks)

    @property
    def tokens_read(self) -> int:
        """Tokens that were read and said."""
        return self._now.tokens_read

    def attach(self, modality: str, path: Path) -> int | None:
        """Show a file with the next question.

        Returns:
            The number of tokens that it takes; None if it is read part by part, as a film is, when the question is.

        Raises:
            DataError: The model does not take this modality, or the file cannot be read as it.
            PluginError: The modality or its processor failed.
        """
        preprocessor = self._session.conversations.preprocessors.get(modality)
        if preprocessor is None:
            raise DataError(f"the model takes no {modality}", hint=f"it takes: {', '.join(self.modalities) or 'text'}")
        signal = preprocessor.decode(path)
        tokens = None
        if not preprocessor.divides:
            tokens = preprocessor.out_length(preprocessor.process(signal).length) + _MARKERS
        self.attached = (*self.attached, Media(modality, signal))
        return tokens

    def ask(self, text: str) -> Generation:
        """Ask a question with the media that were attached.

        They stand before its text, or where it has placeholders such as ``<image>``. When the last event of the answer
        has come, the answer is part of the conversation, even if it was cancelled. The conversation stays as it was if
        the answer ends with an error or before its first token.

        Raises:
            DataError: Placeholders and media do not fit.
            SessionBusyError: The question before is still being answered.
            ModRWKVError: See :meth:`Engine.submit`.
        """
        turn = Turn("user", place_media([text], self.attached)[0])
        request = self._request(turns=[turn], session=self._forks[self.fork_name])
        return self._store.submit(request, on_finish=partial(self._go_on, self._latest_series()))

    def undo(self) -> bool:
        """Take back the media that are attached, or else the latest question with its answer, or what was loaded.

        Returns:
            Whether it was media.

        Raises:
            DataError: There is nothing to take back.
            SessionBusyError: The latest question is still being answered.
        """
        if self.attached:
            self.attached = ()
            return True
        if not self._now.can_undo:
            raise DataError("there is nothing that can be undone", hint=f"the latest {_UNDO} steps can be")
        self._store.undo(self._forks[self.fork_name])
        return False

    def fork(self, name: str | None = None) -> None:
        """Go on in a new fork, which begins as the conversation stands.

        Args:
            name: Its name; None makes one.

        Raises:
            DataError: There is a fork of that name, or the name cannot be printed.
        """
        if name is None:
            name = next(
                name for number in range(1, len(self._forks) + 1) if (name := f"fork-{number}") not in self._forks
            )
        if name in self._forks:
            raise DataError(f"there is a fork {name!r} already", hint="switch to it, or take another name")
        if not name or not name.isprintable():
            raise DataError(f"{name!r} cannot name a fork", hint="take letters and digits")
        self._forks[name] = self._store.fork(self._forks[self.fork_name]).name
        self.fork_name = name

    def switch(self, name: str) -> None:
        """Go on in another fork.

        Raises:
            DataError: There is none of that name.
        """
        if name not in self._forks:
            raise DataError(f"there is no fork {name!r}", hint=f"there are: {', '.join(self._forks)}")
        self.fork_name = name

    def save(self, path: Path) -> None:
        """Write the conversation's state to a file.

        Raises:
            DataError: Nothing was said yet.
            WriteError: Writing failed; a former file is untouched.
        """
        if self._now.snapshot is None:
            raise DataError("there is nothing to save", hint="ask something first")
        self._now.snapshot.save(path)

    def load(self, path: Path) -> None:
        """Go on from a state that was saved; :meth:`undo` returns to what was before.

        Raises:
            CheckpointError: The file is missing, damaged, no snapshot, or another model's.
            SessionBusyError: A question is still being answered.
        """
        self._store.restore(self._forks[self.fork_name], self._session.load_snapshot(path))

    def forecast(self, horizon: int, head: str | None = None) -> Forecast:
        """Continue the latest series that was shown or attached; see :meth:`Session.forecast`.

        Raises:
            DataError: None was, or the head cannot continue it.
            ModRWKVError: The model has no forecast head, or several and none was named.
        """
        series = self._latest_series()
        if series is None:
            raise DataError("there is no series to continue", hint="show one first; a loaded state does not hold it")
        return self._engine.call(partial(self._session.forecast, series, horizon, head)).result()

    @property
    def _now(self) -> Conversation:
        return self._store.get(self._forks[self.fork_name])

    def _latest_series(self) -> Any:
        attached = [media.media for media in self.attached if media.modality == "series"]
        key = self._now.key
        return attached[-1] if attached else None if key is None else self._series.get(key)

    def _go_on(self, series: Any, after: Conversation | None) -> None:
        """Note which series an answer has read; the engine calls this before the answer's last event."""
        if after is not None:
            known = {key for name in [*self._forks.values()] for key, _ in self._store.get(name).snapshots}
            self._series = {key: each for key, each in self._series.items() if key in known}
            if series is not None and after.key is not None:
                self._series[after.key] = series
            self.attached = ()
