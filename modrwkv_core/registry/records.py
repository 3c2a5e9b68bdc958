"""What discovery finds: plugins with their states, and the things that they register."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.plugin import CommandSpec, ComponentSpec, ModalitySpec, PresetSpec

__all__ = ["Entry", "Plugin", "PluginState", "Spec"]

PluginState: TypeAlias = Literal["ok", "disabled", "incompatible", "missing-dependency", "failed", "shadowed"]

Spec: TypeAlias = ComponentSpec | ModalitySpec | PresetSpec | CommandSpec
SpecT = TypeVar("SpecT", bound=Spec)

ADVICE: dict[PluginState, str] = {
    "disabled": "enable it in MODRWKV_PLUGINS, MODRWKV_DISABLE_PLUGINS or the manifest's `plugins:`",
    "incompatible": "install versions of modrwkv and {distribution} that belong together",
    "missing-dependency": "`pip install {distribution}` installs what is missing",
    "failed": "fix or reinstall {distribution}, or report the traceback of `modrwkv plugins doctor` to its authors",
    "shadowed": "remove the copy that is not wanted, or `pip uninstall {distribution}` and install it again",
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of the group ``modrwkv`` and what became of it.

    Attributes:
        name: ``"<distribution>:<entry point>"``.
        distribution: The installed distribution that brings it.
        version: The distribution's version.
        location: The folder that holds the distribution's metadata.
        state: ``ok``; ``disabled`` by a setting; ``incompatible`` with this plug-in API; ``missing-dependency`` if a
            declared requirement is not installed; ``failed`` if its light module raised or returned something else
            than records; ``shadowed`` if another entry point has taken its place.
        error: The reason, or the traceback where there is one; None if the state is ``ok``.
        cause: The exception after ``error``, if any.
        components: What it registered; of a broken plugin what it registered before it broke.
        modalities: Likewise.
        presets: Likewise.
        commands: Likewise.
    """

    name: str
    distribution: str
    version: str
    location: str
    state: PluginState = "ok"
    error: str | None = None
    cause: BaseException | None = field(default=None, compare=False, repr=False)
    components: tuple[ComponentSpec, ...] = field(default=(), repr=False)
    modalities: tuple[ModalitySpec, ...] = field(default=(), repr=False)
    presets: tuple[PresetSpec, ...] = field(default=(), repr=False)
    commands: tuple[CommandSpec, ...] = field(default=(), repr=False)

    def provided(self) -> Iterator[tuple[str, Spec]]:
        """Yield everything that it registered, each with its kind."""
        for component in self.components:
            yield component.kind, component
        for modality in self.modalities:
            yield "modality", modality
        for preset in self.presets:
            yield "preset", preset
        for command in self.commands:
            yield "command", command

    @property
    def broken(self) -> bool:
        """Whether it was wanted but cannot be used."""
        return self.state in ("incompatible", "missing-dependency", "failed")

    @property
    def reason(self) -> str:
        """The error in one line, empty if the state is ``ok``."""
        if self.cause is not None:
            first_line, _, _ = str(self.cause).partition("\n")
            return f"{type(self.cause).__name__}: {first_line}"
        return self.error or ""

    @property
    def advice(self) -> str:
        """What to do about its state, empty if that is ``ok``."""
        return ADVICE.get(self.state, "").format(distribution=self.distribution)


@dataclass(frozen=True, slots=True)
class Entry(Generic[SpecT]):
    """Something that a usable plugin registered.

    Attributes:
        kind: What it is.
        spec: The plugin's record.
        distribution: The installed distribution that provides it.
        version: The distribution's version.
    """

    kind: str
    spec: SpecT
    distribution: str
    version: str

    @property
    def origin(self) -> Origin:
        """What it is called and who provides it, for errors."""
        return Origin(f"{self.kind}/{self.spec.name}", self.distribution)
