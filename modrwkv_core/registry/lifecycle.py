"""Relays lifecycle hooks to the usable plugins, and says whose hook failed."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pluggy

from modrwkv_core.errors import PluginError
from modrwkv_core.interfaces.guard import CORE, is_users_interrupt
from modrwkv_core.registry.collect import hook_manager
from modrwkv_core.registry.installed import canonical
from modrwkv_core.registry.records import Plugin

__all__ = ["LifecycleHooks"]

_FIRST = "modrwkv_run_started"
"""The hook that is called before anything can be lost."""


class LifecycleHooks:
    """The plugins that hear of a run's events.

    What a plugin raises when a run begins becomes a :class:`PluginError` with the original cause: nothing is lost then.
    Later, a failing hook must not cost the run its work: it becomes a warning, and the plugin is told nothing more
    until the next run begins. The core's own hooks raise as they are.

    Args:
        label: With a label, every call and its result are written to stderr.
    """

    def __init__(self, label: str | None) -> None:
        self._manager = hook_manager(label)
        self._modules: list[tuple[object, Plugin]] = []
        self._failed: set[str] = set()

    @property
    def hook(self) -> pluggy.HookRelay:
        """What is called, as in ``hook.modrwkv_run_started(run=..., manifest=...)``."""
        return self._manager.hook

    def owner(self, module: object) -> Plugin | None:
        """Return the plugin that ``module`` is registered for, if it is."""
        return next((plugin for registered, plugin in self._modules if registered is module), None)

    def register(self, module: object, plugin: Plugin) -> None:
        """Let the hooks of ``module`` be called."""
        self._modules.append((module, plugin))
        own = canonical(plugin.distribution) == CORE
        self._manager.register(module if own else self._guarded(module, plugin), name=plugin.name)

    def _guarded(self, module: object, plugin: Plugin) -> ModuleType:
        """Return a stand-in for ``module`` that holds its hooks only, each of which names its plugin when it fails."""
        stand_in = ModuleType(plugin.name)
        for name in dir(module):
            options = self._manager.parse_hookimpl_opts(module, name)
            if options is not None:
                hook = options.get("specname") or name
                setattr(stand_in, name, self._naming(getattr(module, name), plugin, hook))
        return stand_in

    def _naming(self, function: Callable[..., Any], plugin: Plugin, hook: str) -> Callable[..., Any]:
        """Wrap a hook; one that wraps other plugins' calls is a generator, which cannot be left out."""
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def wrapper(*arguments: Any) -> Any:
                with _blame(plugin, hook):
                    return (yield from function(*arguments))

        else:

            @functools.wraps(function)
            def wrapper(*arguments: Any) -> Any:
                if hook == _FIRST:
                    self._failed.discard(plugin.name)
                elif plugin.name in self._failed:
                    return None
                try:
                    with _blame(plugin, hook):
                        return function(*arguments)
                except PluginError as error:
                    if hook == _FIRST:
                        raise
                    self._failed.add(plugin.name)
                    warnings.warn(f"{error.message}; it is told nothing more of this run. {error.hint}", stacklevel=2)
                    return None

        return wrapper


class _HookError(PluginError):
    """A hook's failure, which passes through other plugins' wrappers as it is."""


@contextmanager
def _blame(plugin: Plugin, hook: str) -> Iterator[None]:
    try:
        yield
    except (_HookError, GeneratorExit):
        raise
    except BaseException as error:
        if is_users_interrupt(error):
            raise
        raise _HookError(
            f"the hook {hook} of plugin {plugin.name} {plugin.version} failed: {type(error).__name__}: {error}",
            distribution=plugin.distribution,
            hint=f"`--traceback` shows where; without it: MODRWKV_DISABLE_PLUGINS={plugin.name}",
        ) from error
