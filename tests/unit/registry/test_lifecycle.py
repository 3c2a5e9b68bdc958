"""A plugin's hook that fails names its plugin; whoever did nothing wrong is left alone."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.errors import PluginError
from modrwkv_core.registry import discover

FAILING = """
    from modrwkv_core.plugin import hookimpl

    @hookimpl
    def modrwkv_checkpoint_saved(step):
        raise OSError(f"no space left for step {step}")
"""
LISTENING = """
    from modrwkv_core.plugin import hookimpl

    @hookimpl
    def modrwkv_checkpoint_saved(checkpoint, step):
        checkpoint.append(step)
"""
STARTING = FAILING.replace("checkpoint_saved(step)", "run_started(run)").replace("step {step}", "run {run}")


def announce(**changes: Any) -> None:
    discover().hook.modrwkv_checkpoint_saved(**({"run": Path(), "checkpoint": Path(), "step": 7} | changes))


def begin() -> None:
    discover().hook.modrwkv_run_started(run=Path("here"), manifest=None)


def test_a_hook_that_fails_when_a_run_begins_stops_it_and_names_its_plugin(site: Any) -> None:
    site.install("fake-logger", STARTING, version="2.5")
    with pytest.raises(PluginError) as raised:
        begin()
    error = raised.value
    assert error.message == (
        "the hook modrwkv_run_started of plugin fake-logger:main 2.5 failed: OSError: no space left for run here"
    )
    assert error.distribution == "fake-logger"
    assert "MODRWKV_DISABLE_PLUGINS=fake-logger:main" in str(error.hint)
    assert isinstance(error.__cause__, OSError)
    assert "fake_logger_plugin.py" in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("failure", ['OSError(f"no space left for step {step}")', 'SystemExit("no")'])
def test_a_hook_that_fails_later_is_a_warning_and_its_plugin_hears_no_more_of_the_run(site: Any, failure: str) -> None:
    source = FAILING.replace('OSError(f"no space left for step {step}")', failure)
    site.install("fake-logger", source, version="2.5")
    site.install("fake-listener", LISTENING)
    hook = discover().hook
    heard: list[int] = []
    message = r"the hook modrwkv_checkpoint_saved of plugin fake-logger:main 2\.5 failed: .*it is told nothing more"
    with pytest.warns(UserWarning, match=message):
        hook.modrwkv_checkpoint_saved(run=Path(), checkpoint=heard, step=7)
    hook.modrwkv_checkpoint_saved(run=Path(), checkpoint=heard, step=8)
    assert heard == [7, 8], "others hear everything"


def test_without_the_failing_plugin_the_others_hear_of_it(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("fake-logger", FAILING)
    monkeypatch.setenv("MODRWKV_DISABLE_PLUGINS", "fake-logger:main")
    announce()


def test_a_hook_under_another_name_and_one_of_an_object_are_named_too(site: Any) -> None:
    source = """
        from modrwkv_core.plugin import hookimpl

        class Logger:
            @hookimpl(specname="modrwkv_checkpoint_saved")
            def note(self, run, step):
                raise KeyError(step)

        logger = Logger()
    """
    site.install("fake-object", source, entry_points={"main": "fake_object_plugin:logger"})
    with pytest.warns(UserWarning, match=r"the hook modrwkv_checkpoint_saved of plugin fake-object:main 1\.0 failed"):
        announce()


def test_a_wrapper_is_blamed_for_its_own_failures_only(site: Any) -> None:
    source = """
        from modrwkv_core.plugin import hookimpl

        @hookimpl(wrapper=True)
        def modrwkv_checkpoint_saved(step):
            results = yield
            raise RuntimeError("the wrapper's own")
            return results
    """
    site.install("fake-wrapper", source)
    with pytest.raises(PluginError, match=r"fake-wrapper:main 1\.0 failed: RuntimeError: the wrapper's own"):
        announce()
    site.install("fake-logger", FAILING)
    with (
        pytest.raises(PluginError, match=r"fake-wrapper:main 1\.0 failed"),
        pytest.warns(UserWarning, match=r"plugin fake-logger:main 1\.0 failed: OSError"),
    ):
        announce()


def test_hooks_get_the_arguments_that_they_name_and_may_succeed(site: Any) -> None:
    site.install("fake-listener", LISTENING)
    heard: list[int] = []
    announce(checkpoint=heard)
    assert heard == [7]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise, which background jobs of a shell, as on some build servers, ignore."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_is_nobodys_failure(site: Any) -> None:
    site.install("fake-logger", FAILING.replace("raise OSError", "import signal; signal.raise_signal(signal.SIGINT) #"))
    with pytest.raises(KeyboardInterrupt):
        announce()


@pytest.mark.parametrize("failure", ["KeyboardInterrupt", "SystemExit(0)"])
def test_a_hook_that_would_end_the_process_is_a_failure(site: Any, failure: str) -> None:
    site.install("fake-logger", FAILING.replace('OSError(f"no space left for step {step}")', failure))
    with pytest.warns(UserWarning, match=f"of plugin fake-logger:main 1.0 failed: {failure.partition('(')[0]}"):
        announce()
