"""A chat from a pipe and on a terminal, judged by an engine that is asked the same from states of its own."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Self

import numpy as np
import pytest

from modrwkv_core.cli.main import run_program
from modrwkv_core.cli.terminal import printable
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.loading import load
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.interfaces.record import Media, Part, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

PHASE = {"name": "only", "train": ["backbone", "heads"], "lr": 0.1, "steps": 3}
ANSWERS = ["--temperature", "1", "--seed", "3", "--max-tokens", "12", "--device", "cpu"]
WORLD = {"tokenizer": {"type": "world"}, "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64}}


@pytest.fixture(scope="module")
def make_run(write_manifest: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a model for a moment; keyword arguments replace sections of its manifest."""

    def make(**sections: Any) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        manifest = load_manifest(write_manifest(folder / "project", phases=[PHASE], **sections))
        train(manifest, folder / "run", resume=False, device="cpu", progress_bar=False)
        return folder / "run"

    return make


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Path:
    return make_run()


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Pipe lines into a chat and return what it prints, and what it prints beside that."""

    def pipe(run: Path, *lines: str | bytes) -> tuple[str, str]:
        script = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(script), encoding="utf-8"))
        assert run_program(["chat", str(run), *ANSWERS]) == 0
        printed = capfd.readouterr()
        return printed.out, printed.err

    return pipe


@pytest.fixture
def judge() -> Callable[..., tuple[str, Snapshot]]:
    """Answer one turn after a state."""

    def ask(run: Path, *parts: Part | str, after: Snapshot | None = None) -> tuple[str, Snapshot]:
        turn = Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts))
        with Engine(load(run, device="cpu")) as engine:
            sampling = Sampling(1.0, seed=3)
            generation = engine.submit(Request([turn], 12, sampling, state=after, keep_state=True))
            return printable(generation.result().text) + "\n", generation.snapshot()

    return ask


def test_it_remembers_forks_and_takes_back(
    run: Path, talk: Callable[..., tuple[str, str]], judge: Callable[..., tuple[str, Snapshot]]
) -> None:
    first, state = judge(run, "Say yes.")
    no, so = judge(run, "Say no.", after=state)[0], judge(run, "Say so.", after=state)[0]
    assert len({no, so, judge(run, "Say no.")[0]}) == 3, "answers do not depend on what was said before"
    out, err = talk(
        run, "Say yes.", "/fork", "Say no.", "/switch main", "", "  Say so. ", "/undo", "Say no.",
        "/fork other", "/undo", "Say so.", "/switch fork-1", "/undo", "Say so.", "/switch", "/quit", "Say no.",
    )  # fmt: skip
    assert out == first + no + so + no + so + so + "  main\n* fork-1\n  other\n"
    assert "error" not in err


def test_it_goes_on_from_a_saved_state_in_another_process(
    run: Path,
    talk: Callable[..., tuple[str, str]],
    judge: Callable[..., tuple[str, Snapshot]],
    tmp_path: Path,
) -> None:
    first, state = judge(run, "Say yes.")
    assert talk(run, "Say yes.", f"/save {tmp_path}/a talk")[0] == first
    assert (tmp_path / "a talk.safetensors").is_file()
    out, err = talk(run, f"/load '{tmp_path}/a talk.safetensors'", "Say no.", "/undo", "/undo", "Say yes.")
    assert out == judge(run, "Say no.", after=state)[0] + first
    assert "error" not in err


def test_it_shows_media_and_continues_series(
    run: Path,
    talk: Callable[..., tuple[str, str]],
    judge: Callable[..., tuple[str, Snapshot]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path, other = tmp_path / "my wave.npy", tmp_path / "other.npy"
    np.save(path, np.sin(np.arange(48.0)))
    np.save(other, np.arange(48.0) % 7)
    shown, state = judge(run, Media("series", path), "What is it?")
    placed = judge(run, "Is ", Media("series", other), " it?", after=state)[0]
    capfd.readouterr()
    forecasts = []
    for each in (path, other):
        assert run_program(["forecast", str(run), "--series", str(each), "--horizon", "8", "--device", "cpu"]) == 0
        forecasts.append(capfd.readouterr().out)
    assert forecasts[0] != forecasts[1]
    out, err = talk(
        run, f"/series {path}", "What is it?", "/forecast 8", f"/series '{other}'", "/forecast 8", "/undo",
        "/forecast 8 forecast", f"/series {other}", "Is <series> it?", "/undo", "/forecast 8", "/undo", "Say yes.",
    )  # fmt: skip
    assert out == "".join([shown, *forecasts, forecasts[0], placed, forecasts[0], judge(run, "Say yes.")[0]])
    assert "error" not in err


def test_errors_of_a_line_are_printed_and_the_chat_goes_on(
    run: Path,
    talk: Callable[..., tuple[str, str]],
    judge: Callable[..., tuple[str, Snapshot]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.csv").write_text("no numbers\nat all\n")
    np.save("wave.npy", np.arange(48.0))
    wrong = {
        "/image photo.png": "this model takes text, series",
        "/series": "a file is missing",
        "/series nowhere.csv": "no file nowhere.csv",
        "/series notes.csv": "notes.csv",
        "/forecast 8": "no series",
        "/forecast": "number of points",
        "/undo": "nothing that can be undone",
        "/save talk": "nothing to save",
        "/load talk": "talk.safetensors",
        "/load": "a file is missing",
        "/switch x": "no fork 'x'",
        "/fork main": "fork 'main' already",
        "/fork \x1b[2J": "cannot name a fork",
        "/\x1b[2J": "no command /\u241b[2J",
        b"half a letter: \xc3": "lone surrogate",
    }
    out, err = talk(run, *wrong, "/series wave.npy", "<series> or <series>?", "/forecast 8 lm", "/undo", "Say yes.")
    assert out == judge(run, "Say yes.")[0]
    errors = err.split("error: ")[1:]
    for error, message in zip(errors, [*wrong.values(), "stands 2 times", "'lm'"], strict=True):
        assert message in error
    assert "\x1b" not in err


def test_help_lists_the_commands_of_the_model(run: Path, talk: Callable[..., tuple[str, str]]) -> None:
    listed = [line.split()[0] for line in talk(run, "/help")[0].splitlines()]
    assert listed == ["/series", "/forecast", "/undo", "/fork", "/switch", "/save", "/load", "/help", "/quit"]


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *arguments: str) -> None:
        self._master, self._slave = pty.openpty()
        # The shell leads a session of its own, so the terminal that it opens is the one whose Ctrl-C it obeys.
        script = f'exec "$@" <>{os.ttyname(self._slave)} >&0 2>&0'
        # A program begun in the background ignores Ctrl-C, and so do those that it starts.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            ["sh", "-c", script, "sh", sys.executable, "-m", "modrwkv_core", *arguments],
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", "CUDA_VISIBLE_DEVICES": ""},
        )
        signal.signal(signal.SIGINT, before)
        self._seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def wait_for(self, wanted: bytes) -> None:
        """Drop what is printed up to ``wanted``, and that too."""
        while wanted not in self._seen:
            self._fill()
        self._seen = self._seen.partition(wanted)[2]

    def read(self) -> bytes:
        """Return what is printed next, when there is something."""
        if not self._seen:
            self._fill()
        return self._seen

    def send(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def interrupt_until(self, wanted: bytes) -> None:
        """Press Ctrl-C until ``wanted`` is printed.

        Python's readline misses a signal that comes while it reads a key, and acts on the next.
        """
        self.send(b"\x03")
        while wanted not in self._seen:
            if select.select([self._master], [], [], 10)[0]:
                self._fill()
            else:
                self.send(b"\x03")
        self._seen = self._seen.partition(wanted)[2]

    def _fill(self) -> None:
        deadline = monotonic() + 300
        while not select.select([self._master], [], [], 1)[0]:
            assert self.process.poll() is None, f"the program has ended after it printed {self._seen!r}"
            assert monotonic() < deadline, f"the program prints nothing more after {self._seen!r}"
        self._seen += os.read(self._master, 4096)


@pytest.mark.parametrize("sections", [{}, {**WORLD, "chat_template": "g1"}], ids=["answering", "thinking"])
def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(
    make_run: Callable[..., Path], sections: dict[str, Any]
) -> None:
    run = make_run(**sections)
    # A penalty below 0 has the model repeat its first token for ever.
    penalty = ["--frequency-penalty", "-2", "--max-tokens", "1000000000", "--device", "cpu"]
    with Terminal("chat", str(run), *penalty) as terminal:
        terminal.wait_for(b"main> ")
        terminal.send(b"/help\r")
        terminal.wait_for(b"/quit")
        terminal.wait_for(b"main> ")
        for question in (b"Say yes.\r", b"\x1b[A\r"):  # the arrow recalls it
            terminal.send(question)
            terminal.wait_for(b"Say yes.")
            terminal.wait_for(b"\n")
            begun = terminal.read()
            assert begun.startswith(b"\x1b[2m") == bool(sections), "thoughts are dim"
            terminal.send(b"\x03")
            terminal.wait_for(b"stopped, ")
            terminal.wait_for(b" tokens/s")
            terminal.wait_for(b"main> ")
        terminal.send(b"half a line")
        terminal.wait_for(b"half a line")
        terminal.interrupt_until(b"main> ")
        terminal.send(b"\x04")
        assert terminal.process.wait(240) == 0
