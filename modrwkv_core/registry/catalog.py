"""The registry: from a kind and a name to the one plugin that provides it, or to the reason why none does.

Classes are imported here and nowhere else, and checked against the base of their kind.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from typing import Any, Final, NamedTuple

from modrwkv_core.errors import PluginError
from modrwkv_core.interfaces.guard import CORE, contained, guard
from modrwkv_core.plugin import KINDS, CommandSpec, ComponentSpec, Kind, ModalitySpec, PresetSpec
from modrwkv_core.registry.hints import broken_error, conflict, not_found, opaque_plugins, reserved, suspect
from modrwkv_core.registry.installed import canonical
from modrwkv_core.registry.lifecycle import LifecycleHooks
from modrwkv_core.registry.records import Entry, Plugin, Spec

__all__ = ["BASES", "Registry"]

_CONFIG = "modrwkv_core.interfaces.config"
_COMPONENT = "modrwkv_core.interfaces.component"

BASES: Final[dict[Kind, tuple[str, str]]] = {
    "encoder": (f"{_CONFIG}:EncoderConfig", f"{_COMPONENT}:Encoder"),
    "compressor": (f"{_CONFIG}:CompressorConfig", f"{_COMPONENT}:Compressor"),
    "adapter": (f"{_CONFIG}:AdapterConfig", f"{_COMPONENT}:Adapter"),
    "backbone": (f"{_CONFIG}:BackboneConfig", f"{_COMPONENT}:Backbone"),
    "head": (f"{_CONFIG}:HeadConfig", f"{_COMPONENT}:Head"),
    "tokenizer": (f"{_CONFIG}:TokenizerConfig", "modrwkv_core.interfaces.tokenizer:Tokenizer"),
    "source": (f"{_CONFIG}:SourceConfig", "modrwkv_core.interfaces.source:Source"),
    "task": (f"{_CONFIG}:TaskConfig", "modrwkv_core.interfaces.task:Task"),
    "metric": (f"{_CONFIG}:MetricConfig", "modrwkv_core.interfaces.metric:Metric"),
    "optimizer": (f"{_CONFIG}:OptimizerConfig", "modrwkv_core.interfaces.optimizer:Optimizer"),
    "scheduler": (f"{_CONFIG}:SchedulerConfig", "modrwkv_core.interfaces.scheduler:Scheduler"),
    "finetuning": (f"{_CONFIG}:FinetuningConfig", "modrwkv_core.interfaces.finetuning:FinetuningMethod"),
    "augmentation": (f"{_CONFIG}:AugmentationConfig", "modrwkv_core.interfaces.augmentation:Augmentation"),
}
"""The bases of each kind's configuration and implementation; in strings, for most of them import torch."""

_PROCESSOR = f"{_COMPONENT}:Processor"
_MODALITY = "modrwkv_core.interfaces.modality:Modality"


class Claim(NamedTuple):
    """A plugin's claim to a name."""

    plugin: Plugin
    spec: Spec


class Registry:
    """All that the installed plugins provide.

    A name may be written ``distribution/name``. Names are looked up on use: two distributions that claim one name, or a
    broken plugin, only affect code that requests it. The core's own names are reserved: another plugin that claims one
    is reached by ``distribution/name`` only.

    Args:
        plugins: What discovery found.
        lifecycle: Passes lifecycle hooks to the usable plugins.
        prefer: ``"kind/name"`` to the distribution that provides it.
        locked: ``"kind/name"`` to the distribution and version that a run's lock records; ``prefer`` wins over it.

    Attributes:
        plugins: Every entry point with its state.
        hook: Calls lifecycle hooks, as in ``registry.hook.modrwkv_run_started(run=..., manifest=...)``. A
            plugin's hook that fails raises a :class:`PluginError` that names the plugin and the hook.
    """

    def __init__(
        self,
        plugins: Sequence[Plugin],
        lifecycle: LifecycleHooks,
        prefer: Mapping[str, str],
        locked: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self.plugins = tuple(plugins)
        self.hook = lifecycle.hook
        self._prefer = dict(prefer)
        self._locked = dict(locked or {})
        self._claims: dict[tuple[str, str], list[Claim]] = defaultdict(list)
        self._aliases: dict[tuple[str, str], list[Claim]] = defaultdict(list)
        for plugin in self.plugins:
            for kind, spec in plugin.provided():
                self._claims[kind, spec.name].append(Claim(plugin, spec))
                for alias in getattr(spec, "aliases", ()):
                    self._aliases[kind, alias].append(Claim(plugin, spec))
        self._warn_of_unknown_preferences()

    def component(self, kind: Kind, name: str) -> Entry[ComponentSpec]:
        """Return the component ``name``; a former name warns.

        Raises:
            PluginError: It is unknown, not installed, provided by a broken plugin, or claimed by two distributions.
        """
        return self._find(kind, name)

    def components(self, kind: Kind | None = None) -> tuple[Entry[ComponentSpec], ...]:
        """Return every usable plugin's components, of one kind or of all, by kind and name."""
        found = [
            Entry(spec.kind, spec, plugin.distribution, plugin.version)
            for plugin in self.plugins
            if plugin.state == "ok"
            for spec in plugin.components
            if kind in (None, spec.kind)
        ]
        return tuple(sorted(found, key=lambda entry: (KINDS.index(entry.spec.kind), entry.spec.name)))

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the names of ``kind`` that can be used as they are, sorted: without former or contested ones."""
        return self._names(kind)

    def config_class(self, kind: Kind, name: str) -> type[Any]:
        """Import a component's configuration class.

        Raises:
            PluginError: As in :meth:`component`, or the import fails, or the class has not the base of its kind.
        """
        entry = self.component(kind, name)
        return _import_class(entry, entry.spec.config, BASES[kind][0])

    def implementation(self, kind: Kind, name: str) -> type[Any]:
        """Import a component's implementation.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry = self.component(kind, name)
        return _import_class(entry, entry.spec.implementation, BASES[kind][1])

    def processor(self, name: str) -> type[Any]:
        """Import the processor of the encoder ``name``.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry = self.component("encoder", name)
        assert entry.spec.processor is not None, "encoders without a processor are refused at discovery"
        return _import_class(entry, entry.spec.processor, _PROCESSOR)

    def modality(self, name: str) -> Entry[ModalitySpec]:
        """Return the modality ``name``.

        Raises:
            PluginError: As in :meth:`component`.
        """
        return self._find("modality", name)

    def modality_class(self, name: str) -> type[Any]:
        """Import the class of the modality ``name``.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry = self.modality(name)
        return _import_class(entry, entry.spec.implementation, _MODALITY)

    def modalities(self) -> tuple[Entry[ModalitySpec], ...]:
        """Return the usable modalities by name, without contested ones."""
        return tuple(self._find("modality", name) for name in self._names("modality"))

    def preset(self, name: str) -> Entry[PresetSpec]:
        """Return the preset ``name``.

        Raises:
            PluginError: As in :meth:`component`.
        """
        return self._find("preset", name)

    def preset_text(self, name: str) -> str:
        """Read the file of the preset ``name``.

        Raises:
            PluginError: As in :meth:`component`, or the file cannot be read.
        """
        entry = self.preset(name)
        package, _, resource = entry.spec.resource.partition(":")
        try:
            with guard(entry.origin, f"import of {package}", OSError, ImportError), contained():
                return files(package).joinpath(resource).read_text(encoding="utf-8")
        except (ImportError, OSError, UnicodeDecodeError) as error:
            raise PluginError(
                f"its file {entry.spec.resource} cannot be read: {error}",
                component=entry.origin.component,
                distribution=entry.distribution,
                hint=f"reinstall {entry.distribution} or tell its authors",
            ) from error

    def command(self, name: str) -> Any:
        """Import the :class:`click.Command` of the command ``name``.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry: Entry[CommandSpec] = self._find("command", name)
        return _import(entry, entry.spec.command)

    def commands(self) -> tuple[Entry[CommandSpec], ...]:
        """Return the usable commands by name, without contested ones."""
        return tuple(self._find("command", name) for name in self._names("command"))

    def conflicts(self) -> tuple[PluginError, ...]:
        """Return what asking for each contested name would raise, and who claims a reserved one in vain."""
        found = []
        for kind, name in sorted(self._claims):
            usable = _usable(self._claims_to(kind, name))
            if len(usable) > 1:
                found.append(conflict(kind, name, [claim.plugin for claim in usable]))
            claims = _usable(self._claims[kind, name])
            if any(_is_core(claim) for claim in claims):
                found += [reserved(kind, name, claim.plugin) for claim in claims if not _is_core(claim)]
        return tuple(found)

    def digest(self) -> str:
        """Return a short hash of the usable plugins' names and versions, to compare the processes of one run."""
        import hashlib

        usable = sorted(f"{plugin.name} {plugin.version}" for plugin in self.plugins if plugin.state == "ok")
        return hashlib.sha256("\n".join(usable).encode()).hexdigest()[:16]

    def _find(self, kind: str, name: str) -> Entry[Any]:
        distribution, bare = self._origin(kind, name)
        claims = self._claims_to(kind, name)
        usable = _usable(claims)
        if len(usable) == 1:
            plugin, spec = usable[0]
            if spec.name != bare:
                message = f"{kind} {bare!r} is now called {spec.name!r}; the former name will go"
                warnings.warn(message, FutureWarning, stacklevel=3)
            return Entry(kind, spec, plugin.distribution, plugin.version)
        if usable:
            raise conflict(kind, bare, [claim.plugin for claim in usable])
        opaque = opaque_plugins(self.plugins)
        broken = claims[0].plugin if claims else suspect(kind, bare, distribution, opaque)
        if broken is not None:
            raise broken_error(kind, bare, broken) from broken.cause
        installed = {known: self._names(known) for known, _ in self._claims}
        causes = [plugin.cause for plugin in opaque if isinstance(plugin.cause, Exception)]
        cause = ExceptionGroup("plugins that may provide it", causes) if causes else None
        _, version = self._locked.get(f"{kind}/{bare}", ("", ""))
        raise not_found(kind, bare, distribution, version, installed, self.plugins) from cause

    def _origin(self, kind: str, name: str) -> tuple[str, str]:
        """Split ``name`` into the distribution it must come from, or "" for any, and the rest.

        What is written before the name wins over a preference, and that over a run's lock.
        """
        written, _, bare = name.rpartition("/")
        locked, _ = self._locked.get(f"{kind}/{bare}", ("", ""))
        return written or self._prefer.get(f"{kind}/{bare}", locked), bare

    def _claims_to(self, kind: str, name: str) -> list[Claim]:
        distribution, bare = self._origin(kind, name)
        claims = self._claims.get((kind, bare)) or self._aliases.get((kind, bare), [])
        if distribution:
            return [claim for claim in claims if canonical(claim.plugin.distribution) == canonical(distribution)]
        return [claim for claim in claims if _is_core(claim)] or claims

    def _names(self, kind: str) -> tuple[str, ...]:
        return tuple(
            sorted(
                name
                for claimed_kind, name in self._claims
                if claimed_kind == kind and len(_usable(self._claims_to(kind, name))) == 1
            )
        )

    def _warn_of_unknown_preferences(self) -> None:
        distributions = {canonical(plugin.distribution) for plugin in self.plugins}
        for key, distribution in self._prefer.items():
            kind, _, name = key.partition("/")
            if canonical(distribution) not in distributions:
                warnings.warn(f"plugins.prefer names {distribution!r}, which is not an installed plugin", stacklevel=4)
            elif not self._claims.get((kind, name)):
                warnings.warn(f"plugins.prefer names {key!r}, which no installed plugin provides", stacklevel=4)


def _usable(claims: Sequence[Claim]) -> list[Claim]:
    return [claim for claim in claims if claim.plugin.state == "ok"]


def _is_core(claim: Claim) -> bool:
    return canonical(claim.plugin.distribution) == CORE


def _import_class(entry: Entry[Any], reference: str, base: str) -> type[Any]:
    """Import a class that derives from ``base``, which is named like ``reference``."""
    loaded = _import(entry, reference)
    module, _, name = base.partition(":")
    if isinstance(loaded, type) and issubclass(loaded, getattr(import_module(module), name)):
        return loaded
    raise PluginError(
        f"{reference} is no subclass of {name}" if isinstance(loaded, type) else f"{reference} is not a class",
        component=entry.origin.component,
        distribution=entry.distribution,
        hint=f"{entry.distribution} must be fixed: derive the class from {module}.{name}",
    )


def _import(entry: Entry[Any], reference: str) -> Any:
    """Import what ``"module:attribute"`` names."""
    module_name, _, attribute = reference.partition(":")
    try:
        with guard(entry.origin, f"import of {module_name}"), contained():
            module = import_module(module_name)
    except PluginError as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing and missing.partition(".")[0] != module_name.partition(".")[0]:
            error.hint = f"install what provides the module {missing}, which {entry.distribution} does not declare"
        raise
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise PluginError(
            f"the module {module_name} has no {attribute}",
            component=entry.origin.component,
            distribution=entry.distribution,
            hint=f"the registration of {entry.distribution} does not fit its code; reinstall it or tell its authors",
        ) from error
