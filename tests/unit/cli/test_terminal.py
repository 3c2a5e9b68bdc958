"""What is shown on a terminal."""

from __future__ import annotations

import os
import signal
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.cli.terminal import on_interrupt, printable


@given(st.text())
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    shown = printable(text)
    assert {letter for letter in shown if unicodedata.category(letter) == "Cc"} <= {"\n", "\t"}
    if not any(unicodedata.category(letter) == "Cc" for letter in text):
        assert shown == text


def test_a_terminal_obeys_no_answer() -> None:
    assert printable("\x1b[2J\x07\r\x7f\x9b1m\n\tok") == "\u241b[2J\u2407\u240d\u2421\\x9b1m\n\tok"


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
