"""Whatever a plugin raises names the plugin; the project's own errors and the user's Ctrl-C pass."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest

from modrwkv_core.errors import ComponentError, DataError, PluginError
from modrwkv_core.interfaces.guard import Origin, contained, guard, is_users_interrupt, length_after

THEIRS = Origin("encoder/eye", "fake-eye")
CORES = Origin("encoder/eye", "modrwkv")


class OddError(BaseException):
    pass


@pytest.mark.parametrize("error", [KeyError("oops"), SystemExit(0), KeyboardInterrupt("theirs"), OddError("own")])
def test_whatever_is_raised_names_component_and_distribution(error: BaseException) -> None:
    with pytest.raises(PluginError) as raised, guard(THEIRS, "forward()"):
        raise error
    assert raised.value.message == f"forward() failed: {type(error).__name__}: {error}"
    assert (raised.value.component, raised.value.distribution) == ("encoder/eye", "fake-eye")
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [DataError("empty"), GeneratorExit()])
def test_expected_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, guard(THEIRS, "forward()"):
        raise error
    assert raised.value is error
    with pytest.raises(ValueError, match=r"^mine$"), guard(THEIRS, "forward()", ValueError):
        raise ValueError("mine")


@pytest.mark.parametrize("origin", [None, CORES])
def test_the_cores_own_mistakes_stay_as_they_are(origin: Origin | None) -> None:
    with pytest.raises(KeyError), guard(origin, "forward()"):
        raise KeyError("ours")


def test_the_users_interrupt_passes_whatever_handles_the_signal() -> None:
    def handle(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (signal.default_int_handler, handle):
            signal.signal(signal.SIGINT, handler)
            with pytest.raises(KeyboardInterrupt), guard(THEIRS, "forward()"):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_other_thread_is_interrupted_by_the_user() -> None:
    found = []

    def look() -> None:
        found.append(is_users_interrupt(KeyboardInterrupt()))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [False]


def test_what_a_plugin_prints_is_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    with guard(THEIRS, "forward()"):
        sys.stdout.write("hello\n")
        with guard(THEIRS, "inner"):
            sys.stdout.write("within\n")
        sys.stdout.write("again\n")
    sys.stdout.write("ours\n")
    assert capsys.readouterr() == ("ours\n", "hello\nwithin\nagain\n")
    stdout = sys.stdout
    with pytest.raises(PluginError), guard(THEIRS, "forward()"):
        raise OSError
    assert sys.stdout is stdout


def test_leaving_the_process_is_an_exception() -> None:
    leave = os._exit
    with pytest.raises(SystemExit, match=r"os\._exit\(0\)"), contained():
        os._exit(0)
    assert os._exit is leave


def test_a_function_kept_from_an_import_leaves_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    with contained():
        kept: Any = os._exit
    kept(3)
    assert left == [3]


def test_a_forked_child_may_leave() -> None:
    with contained():
        child = os.fork()
        if child == 0:
            os._exit(5)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 5


@pytest.mark.parametrize("answer", [-1, 2.0, None, True])
def test_a_length_is_a_whole_number_from_0_on(answer: Any) -> None:
    class Config:
        def out_length(self, length: int) -> int:
            return answer  # type: ignore[no-any-return]

    with pytest.raises(ComponentError, match=r"out_length\(7\) returned") as raised:
        length_after(Config(), 7, THEIRS)
    assert raised.value.component == "encoder/eye"
