"""What is shown on a terminal."""

from __future__ import annotations

import os
import signal
import sys
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.cli.main import run_program
from modrwkv_core.cli.terminal import on_interrupt, printable
from modrwkv_core.inference import loading, transcription
from modrwkv_core.inference.transcription import Transcript


@given(st.text())
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert {letter for letter in shown if unicodedata.category(letter) == "Cc"} <= {"\n", "\t"}
    if not any(unicodedata.category(letter) == "Cc" for letter in text):
        assert shown == text


def test_a_terminal_obeys_no_answer() -> None:
    assert printable("\x1b[2J\x07\r\x7f\x9b1m\n\tok") == "\u241b[2J\u2407\u240d\u2421\\x9b1m\n\tok"


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("command", [["generate", "run", "Hello"], ["transcribe", "run", "sound.wav"]])
def test_what_a_model_says_is_shown_on_a_terminal_and_kept_in_a_file(
    command: list[str],
    is_terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = "\x07beep"
    talks = SimpleNamespace(stream=lambda *_, **__: iter([said]), constraints=None)
    monkeypatch.setattr(loading, "load", lambda *_, **__: talks)
    monkeypatch.setattr(transcription, "transcribe", lambda *_: iter([Transcript(0.0, 1.0, said, True)]))
    monkeypatch.setattr("modrwkv_core.modalities.audio_blocks.read_file_blocks", lambda _: iter(()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    assert run_program(command) == 0
    out = capsys.readouterr().out
    assert ("\x07" in out, "\u2407beep" in out) == (not is_terminal, is_terminal)


def test_ctrl_c_acts_instead_of_raising() -> None:
    calls: list[str] = []
    others = signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background ignores it
    try:
        with on_interrupt(lambda: calls.append("stop")):
            os.kill(os.getpid(), signal.SIGINT)
        assert calls == ["stop"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, others)
