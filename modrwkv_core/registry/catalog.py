"""The registry: from a kind and a name to the one plugin that provides it, or to the reason why none does."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import KINDS, CommandSpec, ComponentSpec, Kind, ModalitySpec, PresetSpec
from modrwkv_core.registry.hints import broken_error, conflict, not_found, opaque_plugins, suspect
from modrwkv_core.registry.lifecycle import LifecycleHooks
from modrwkv_core.registry.records import Entry, Plugin, Spec
from modrwkv_core.registry.resolve import resolve
from modrwkv_core.registry.scan import canonical

__all__ = ["Registry"]


class Claim(NamedTuple):
    """A plugin's claim to a name."""

    plugin: Plugin
    spec: Spec


class Registry:
    """All that the installed plugins provide.

    A name may be written ``distribution/name``. Names are looked up on use: two distributions that claim one name, or a
    broken plugin, disturb nobody who does not ask for it.

    Args:
        plugins: What discovery found.
        lifecycle: Passes lifecycle hooks to the usable plugins.
        prefer: ``"kind/name"`` to the distribution that provides it.

    Attributes:
        plugins: Every entry point with its state.
        hook: Calls lifecycle hooks, as in ``registry.hook.modrwkv_run_started(run=..., manifest=...)``. A
            plugin's hook that fails raises a :class:`PluginError` that names the plugin and the hook.
    """

    def __init__(self, plugins: Sequence[Plugin], lifecycle: LifecycleHooks, prefer: Mapping[str, str]) -> None:
        self.plugins = tuple(plugins)
        self.hook = lifecycle.hook
        self._prefer = dict(prefer)
        self._claims: dict[tuple[str, str], list[Claim]] = defaultdict(list)
        self._aliases: dict[tuple[str, str], list[Claim]] = defaultdict(list)
        for plugin in self.plugins:
            for kind, spec in _registered(plugin):
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
            Entry(spec, plugin.distribution, plugin.version)
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
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry = self.component(kind, name)
        return _resolve_class(kind, entry, entry.spec.config)

    def implementation(self, kind: Kind, name: str) -> type[Any]:
        """Import a component's implementation.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry = self.component(kind, name)
        return _resolve_class(kind, entry, entry.spec.implementation)

    def processor(self, name: str) -> type[Any]:
        """Import the processor of the encoder ``name``.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry = self.component("encoder", name)
        assert entry.spec.processor is not None, "encoders without a processor are refused at discovery"
        return _resolve_class("encoder", entry, entry.spec.processor)

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
        return _resolve_class("modality", entry, entry.spec.implementation)

    def modalities(self) -> tuple[Entry[ModalitySpec], ...]:
        """Return the usable modalities by name, without contested ones."""
        return tuple(self._find("modality", name) for name in self._names("modality"))

    def preset(self, name: str) -> Entry[PresetSpec]:
        """Return the preset ``name``.

        Raises:
            PluginError: As in :meth:`component`.
        """
        return self._find("preset", name)

    def command(self, name: str) -> Any:
        """Import the :class:`click.Command` of the command ``name``.

        Raises:
            PluginError: As in :meth:`component`, or the import fails.
        """
        entry: Entry[CommandSpec] = self._find("command", name)
        return _resolve("command", entry, entry.spec.command)

    def commands(self) -> tuple[Entry[CommandSpec], ...]:
        """Return the usable commands by name, without contested ones."""
        return tuple(self._find("command", name) for name in self._names("command"))

    def conflicts(self) -> tuple[PluginError, ...]:
        """Return what asking for each contested name would raise."""
        return tuple(
            conflict(kind, name, [claim.plugin for claim in usable])
            for kind, name in sorted(self._claims)
            if len(usable := _usable(self._claims_to(kind, name))) > 1
        )

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
            return Entry(spec, plugin.distribution, plugin.version)
        if usable:
            raise conflict(kind, bare, [claim.plugin for claim in usable])
        opaque = opaque_plugins(self.plugins)
        broken = claims[0].plugin if claims else suspect(kind, bare, distribution, opaque)
        if broken is not None:
            raise broken_error(kind, bare, broken) from broken.cause
        installed = {known: self._names(known) for known, _ in self._claims}
        causes = [plugin.cause for plugin in opaque if isinstance(plugin.cause, Exception)]
        cause = ExceptionGroup("plugins that may provide it", causes) if causes else None
        raise not_found(kind, bare, distribution, installed, self.plugins) from cause

    def _origin(self, kind: str, name: str) -> tuple[str, str]:
        """Split ``name`` into the distribution it must come from, by prefix or preference or any (""), and the rest."""
        written, _, bare = name.rpartition("/")
        return written or self._prefer.get(f"{kind}/{bare}", ""), bare

    def _claims_to(self, kind: str, name: str) -> list[Claim]:
        distribution, bare = self._origin(kind, name)
        claims = self._claims.get((kind, bare)) or self._aliases.get((kind, bare), [])
        return [
            claim
            for claim in claims
            if not distribution or canonical(claim.plugin.distribution) == canonical(distribution)
        ]

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


def _registered(plugin: Plugin) -> Iterator[tuple[str, Spec]]:
    for component in plugin.components:
        yield component.kind, component
    for modality in plugin.modalities:
        yield "modality", modality
    for preset in plugin.presets:
        yield "preset", preset
    for command in plugin.commands:
        yield "command", command


def _usable(claims: Sequence[Claim]) -> list[Claim]:
    return [claim for claim in claims if claim.plugin.state == "ok"]


def _resolve(kind: str, entry: Entry[Any], reference: str) -> Any:
    return resolve(reference, component=f"{kind}/{entry.spec.name}", distribution=entry.distribution)


def _resolve_class(kind: str, entry: Entry[Any], reference: str) -> type[Any]:
    loaded = _resolve(kind, entry, reference)
    if isinstance(loaded, type):
        return loaded
    raise PluginError(
        f"{reference} is {loaded!r}, not a class",
        component=f"{kind}/{entry.spec.name}",
        distribution=entry.distribution,
        hint=f"the registration of {entry.distribution} must be fixed",
    )
