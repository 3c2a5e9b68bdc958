"""Calls the registration hooks of one light module and checks what they return."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pluggy

from modrwkv_core import hookspecs
from modrwkv_core.plugin import KINDS, MAX_NAME, NAME, PLUGIN_API, CommandSpec, ComponentSpec, ModalitySpec, PresetSpec
from modrwkv_core.registry.records import PluginState, Spec

__all__ = ["RefusalError", "collect", "hook_manager"]

RECORDS: dict[str, type[Spec]] = {
    "components": ComponentSpec,
    "modalities": ModalitySpec,
    "presets": PresetSpec,
    "commands": CommandSpec,
}
"""What each registration hook ``modrwkv_<key>`` returns."""

REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
RESOURCE = re.compile(r"[A-Za-z_][\w.]*:[^:]+")


class RefusalError(Exception):
    """A plugin is refused for what it is, not for an exception of its own.

    Args:
        state: What becomes of the plugin.
        reason: Why.
    """

    def __init__(self, state: PluginState, reason: str) -> None:
        super().__init__(reason)
        self.state = state


def hook_manager(label: str | None) -> pluggy.PluginManager:
    """Return a manager that knows the hooks; with a label, it writes every call and its result to stderr."""
    manager = pluggy.PluginManager("modrwkv")
    manager.add_hookspecs(hookspecs)
    if label is not None:

        def before(hook: str, implementations: Any, arguments: Any) -> None:
            pass

        def after(outcome: Any, hook: str, implementations: Any, arguments: Any) -> None:
            given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            result = outcome.exception if outcome.exception is not None else outcome.get_result()
            sys.stderr.write(f"{label}: {hook}({given}) -> {result!r}\n")

        manager.add_hookcall_monitoring(before, after)
    return manager


def collect(module: object, label: str | None) -> Iterator[dict[str, Any]]:
    """Yield what ``module`` registers, hook by hook, as fields of the plugin's record.

    The module gets a manager of its own: what is wrong with it concerns no other plugin.

    Raises:
        RefusalError: It implements no hook or unknown ones, or it returned something else than valid records.
        Exception: Whatever a hook raises.
    """
    manager = hook_manager(label)
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise RefusalError("incompatible", " ".join(str(error).split())) from error
    if not manager.get_hookcallers(module):
        raise RefusalError("failed", f"{module!r} implements no hook; are its functions marked with @hookimpl?")
    for field, record in RECORDS.items():
        caller = getattr(manager.hook, f"modrwkv_{field}")
        results = caller()
        if len(results) < len(caller.get_hookimpls()):
            results.append(None)  # pluggy drops None; here it means a forgotten return
        specs = tuple(spec for result in results for spec in _records(f"modrwkv_{field}()", result, record))
        _refuse_repetition(specs)
        yield {field: specs}


def _records(hook: str, result: object, record: type[Spec]) -> Iterator[Spec]:
    if not isinstance(result, Iterable):
        raise RefusalError("failed", f"{hook} returned {result!r}, not {record.__name__} records")
    for spec in result:
        if not isinstance(spec, record):
            raise RefusalError("failed", f"{hook} returned {spec!r} among its records, not a {record.__name__}")
        if spec.api != PLUGIN_API:
            raise RefusalError(
                "incompatible",
                f"{hook} returned {spec.name!r} for plug-in API {spec.api}; this modrwkv has API {PLUGIN_API}",
            )
        complaint = next(_complaints(spec), None)
        if complaint is not None:
            raise RefusalError("failed", f"{hook} returned {spec.name!r}, whose {complaint}")
        yield spec


def _complaints(spec: Spec) -> Iterator[str]:
    def wrong(field: str, pattern: re.Pattern[str], example: str) -> Iterator[str]:
        value = getattr(spec, field)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            yield f"{field} is {value!r}, which is not of the form {example}"

    def wrong_name(field: str) -> Iterator[str]:
        value = getattr(spec, field)
        if not isinstance(value, str) or not NAME.fullmatch(value) or len(value) > MAX_NAME:
            yield f"{field} is {value!r}, which is not of the form 'a-name_2' with at most {MAX_NAME} characters"

    yield from wrong_name("name")
    match spec:
        case ComponentSpec():
            if spec.kind not in KINDS:
                yield f"kind is {spec.kind!r}, none of {', '.join(KINDS)}"
            yield from wrong("config", REFERENCE, "'module:Class'")
            yield from wrong("implementation", REFERENCE, "'module:Class'")
            if spec.kind == "encoder":
                yield from wrong("processor", REFERENCE, "'module:Class'")
                yield from wrong_name("modality")
            elif spec.processor is not None:
                yield f"processor is set, though only encoders have one and it is of kind {spec.kind}"
            elif spec.kind == "augmentation" and spec.modality is not None:
                yield from wrong_name("modality")
            elif spec.modality is not None:
                yield f"modality is set, though only encoders and augmentations have one and it is a {spec.kind}"
            if not isinstance(spec.aliases, tuple):
                yield f"aliases are {spec.aliases!r}, which is not a tuple of names"
        case ModalitySpec():
            yield from wrong("implementation", REFERENCE, "'module:Class'")
        case PresetSpec():
            yield from wrong("resource", RESOURCE, "'package:path/inside/package.yaml'")
        case CommandSpec():
            yield from wrong("command", REFERENCE, "'module:attribute'")


def _refuse_repetition(specs: Iterable[Spec]) -> None:
    seen: set[tuple[str | None, str]] = set()
    for spec in specs:
        kind = getattr(spec, "kind", None)
        for name in (spec.name, *getattr(spec, "aliases", ())):
            if (kind, name) in seen:
                raise RefusalError("failed", f"it registers {kind or 'the name'} {name!r} twice")
            seen.add((kind, name))
