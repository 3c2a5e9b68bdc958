"""The lines of a chat: questions, and commands that begin with a slash."""

from __future__ import annotations

import csv
import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from modrwkv_core.cli.forecast import forecast_rows
from modrwkv_core.cli.paths import existing_paths, one_path
from modrwkv_core.cli.terminal import on_interrupt, printable
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.chat import Chat
from modrwkv_core.inference.generation import Finished, Generation, TokenEvent
from modrwkv_core.registry import discover

__all__ = ["ChatLoop"]

_SUFFIX: Final = ".safetensors"
_ENDINGS: Final = {"length": "cut short by --max-tokens, ", "cancelled": "stopped, "}


@dataclass(frozen=True, slots=True)
class _Command:
    usage: str
    summary: str
    run: Callable[[str], None]


class ChatLoop:
    """Reads lines from standard input until it ends, and answers them.

    What was asked for goes to standard output, errors and notes on what was done go to standard error.

    Args:
        chat: What answers.
        interactive: Whether a person sits at a terminal, who is shown a prompt, reasoning and speed, and whose Ctrl-C
            stops an answer. Otherwise only answers are printed.
    """

    def __init__(self, chat: Chat, *, interactive: bool) -> None:
        self._chat = chat
        self._interactive = interactive
        self._left = False
        summaries = {modality.spec.name: modality.spec.summary for modality in discover().modalities()}
        self._commands = {
            name: _Command(
                f"/{name} FILE...",
                f"show {summaries.get(name, name)} with the next question",
                partial(self._attach, name),
            )
            for name in chat.modalities
        } | {
            "forecast": _Command("/forecast N [HEAD]", "continue the latest series by N points", self._forecast),
            "undo": _Command("/undo", "take back what is attached, or else the latest question", self._undo),
            "fork": _Command("/fork [NAME]", "go on in a new fork of this conversation", self._fork),
            "switch": _Command("/switch [NAME]", "go on in another fork; without NAME, list them", self._switch),
            "save": _Command("/save FILE", f"write this conversation's state, as FILE{_SUFFIX}", self._save),
            "load": _Command("/load FILE", "go on from a state that was saved", self._load),
            "help": _Command("/help", "list the commands", self._help),
            "quit": _Command("/quit", "leave; Ctrl-D does too", self._quit),
        }

    def run(self) -> None:
        """Answer one line after the other.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed, and nobody sits at a terminal to go on.
        """
        if self._interactive:
            import_module("readline")  # lets `input` edit lines and recall earlier ones
            self._note("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves")
        while not self._left:
            try:
                line = self._read()
                if line is None:
                    break
                self._obey(line)
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                click.echo(err=True)
            except ModRWKVError as error:
                click.echo(f"error: {printable(str(error))}", err=True)

    def _read(self) -> str | None:
        """Return the next line, None at the end."""
        if not self._interactive:
            return sys.stdin.readline() or None
        attached = "".join(f" +{media.modality}" for media in self._chat.attached)
        try:
            return input(f"{self._chat.fork_name}{attached}> ")
        except EOFError:
            click.echo(err=True)
            return None

    def _obey(self, line: str) -> None:
        """Answer a question, or run a command."""
        text = line.strip()
        if not line.startswith("/"):
            if text:
                self._ask(text)
            return
        name, _, argument = text[1:].partition(" ")
        command = self._commands.get(name)
        if command is None:
            raise DataError(
                f"there is no command /{name}",
                hint=f"/help lists the commands, and this model takes {', '.join(['text', *self._chat.modalities])}; "
                "a question that begins with a slash needs a space before it",
            )
        command.run(argument.strip())

    def _ask(self, text: str) -> None:
        generation: Generation | None = None

        def stop() -> None:
            if generation is not None:
                generation.cancel()

        with on_interrupt(stop) if self._interactive else nullcontext():
            generation = self._chat.ask(text)
            self._print(generation)

    def _print(self, generation: Generation) -> None:
        """Print an answer as it comes."""
        first = last = None
        channel = None
        for event in generation:
            if isinstance(event, TokenEvent):
                last = time.perf_counter()
                first = first or last
            for piece in event.pieces:
                if piece.channel == "reasoning" and not self._interactive:
                    continue
                if channel not in (None, piece.channel):
                    click.echo("\n")
                channel = piece.channel
                click.secho(printable(piece.text), nl=False, dim=True if channel == "reasoning" else None)
        finished = generation.finished
        assert finished is not None, "its events have ended"
        if channel is not None or finished.error is None:
            click.echo()
        if finished.error is not None:
            raise finished.error
        if self._interactive:
            self._note(_summary(finished, 0.0 if first is None or last is None else last - first))

    def _attach(self, modality: str, argument: str) -> None:
        _require(argument, f"/{modality} FILE")
        for path in existing_paths(argument):
            tokens = self._chat.attach(modality, path)
            size = "" if tokens is None else f": {tokens} tokens"
            self._note(f"{modality} {path.name}{size}, with the next question")

    def _forecast(self, argument: str) -> None:
        horizon, _, head = argument.partition(" ")
        if not re.fullmatch(r"[1-9][0-9]{0,8}", horizon):
            raise DataError(f"{horizon!r} is no number of points", hint="for example: /forecast 24")
        names, rows = forecast_rows(self._chat.forecast(int(horizon), head.strip() or None))
        csv.writer(sys.stdout, lineterminator="\n").writerows([*([names] if names else []), *rows])
        sys.stdout.flush()

    def _undo(self, argument: str) -> None:
        what = "the attached media are" if self._chat.undo() else "the latest step is"
        self._note(f"{what} taken back; {self._chat.tokens_read} tokens so far")

    def _fork(self, argument: str) -> None:
        self._chat.fork(argument or None)
        self._note(f"in the fork {self._chat.fork_name}")

    def _switch(self, argument: str) -> None:
        if argument:
            self._chat.switch(argument)
            self._note(f"in the fork {argument}; {self._chat.tokens_read} tokens so far")
        else:
            for name in self._chat.forks:
                click.echo(f"{'*' if name == self._chat.fork_name else ' '} {name}")

    def _save(self, argument: str) -> None:
        path = _state_path(argument, "/save FILE")
        self._chat.save(path)
        self._note(f"saved as {path}")

    def _load(self, argument: str) -> None:
        path = _state_path(argument, "/load FILE")
        self._chat.load(path)
        self._note(f"going on from {path}; {self._chat.tokens_read} tokens so far")

    def _help(self, argument: str) -> None:
        width = max(len(command.usage) for command in self._commands.values())
        for command in self._commands.values():
            click.echo(f"{command.usage:{width}}  {command.summary}")

    def _quit(self, argument: str) -> None:
        self._left = True

    def _note(self, text: str) -> None:
        click.secho(printable(text), err=True, dim=True)


def _require(argument: str, usage: str) -> None:
    if not argument:
        raise DataError("a file is missing", hint=f"write {usage}")


def _state_path(argument: str, usage: str) -> Path:
    _require(argument, usage)
    path = one_path(argument)
    # A conversation never replaces a file of another kind, such as a picture.
    return path if path.suffix == _SUFFIX else Path(f"{path}{_SUFFIX}")


def _summary(finished: Finished, elapsed: float) -> str:
    """Say how an answer ended, its tokens, and their rate in the seconds between the first one and the last."""
    tokens = finished.usage.completion_tokens
    if tokens == 0:
        return "stopped before the answer began; the conversation stands as before"
    rate = f", {(tokens - 1) / elapsed:.1f} tokens/s" if elapsed else ""
    return f"{_ENDINGS.get(finished.reason, '')}{tokens} tokens{rate}"
