"""A plugin's hook that fails names its plugin; whoever did nothing wrong is left alone."""

from __future__ import annotations

import traceback
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
STARTING = FAILING.replace("checkpoint_saved(step)", "run_started(run)").replace("step {step}", "run {run}")


def announce(**changes: Any) -> None:
    discover().hook.modrwkv_checkpoint_saved(**({"run": Path(), "checkpoint": Path(), "step": 7} | changes))


def test_a_failing_hook_names_its_plugin(site: Any) -> None:
    site.install("fake-logger", FAILING, version="2.5")
    with pytest.raises(PluginError) as raised:
        announce()
    error = raised.value
    assert error.message == (
        "the hook modrwkv_checkpoint_saved of plugin fake-logger:main 2.5 failed: OSError: no space left for step 7"
    )
    assert error.distribution == "fake-logger"
    assert "MODRWKV_DISABLE_PLUGINS=fake-logger:main" in str(error.hint)
    assert isinstance(error.__cause__, OSError)
    assert "fake_logger_plugin.py" in "".join(traceback.format_exception(error))


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
    with pytest.raises(PluginError, match=r"the hook modrwkv_checkpoint_saved of plugin fake-object:main 1\.0 failed"):
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
    with pytest.raises(PluginError, match=r"plugin fake-logger:main 1\.0 failed: OSError"):
        announce()


def test_hooks_get_the_arguments_that_they_name_and_may_succeed(site: Any) -> None:
    source = """
        from modrwkv_core.plugin import hookimpl

        @hookimpl
        def modrwkv_checkpoint_saved(checkpoint, step):
            checkpoint.append(step)
    """
    site.install("fake-listener", source)
    heard: list[int] = []
    announce(checkpoint=heard)
    assert heard == [7]


def test_an_interruption_is_nobodys_failure(site: Any) -> None:
    site.install("fake-logger", FAILING.replace('OSError(f"no space left for step {step}")', "KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        announce()
