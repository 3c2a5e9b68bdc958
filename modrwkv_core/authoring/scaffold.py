"""Writes a new distribution from the templates beside this file: whole, typed, tested, and small enough to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import jinja2
from packaging.version import Version

from modrwkv_core.authoring.signal import SignalClass, signal_class
from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import MAX_NAME, NAME
from modrwkv_core.registry import Registry
from modrwkv_core.registry.hints import known

__all__ = ["SCAFFOLDED", "Plan", "ScaffoldedKind", "plan_distribution", "write_distribution"]

ScaffoldedKind: TypeAlias = Literal["encoder", "compressor", "adapter"]
SCAFFOLDED: Final[tuple[ScaffoldedKind, ...]] = get_args(ScaffoldedKind)
"""The kinds that there are templates for."""

SUMMARIES: Final[dict[ScaffoldedKind, str]] = {
    "encoder": "one vector for each stretch of a signal",
    "compressor": "the mean of neighbouring features, through a linear layer",
    "adapter": "two linear layers",
}

STRIDE: Final = 8
"""Steps of a stretch where examples are long enough."""

TEMPLATES: Final = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new distribution is called and made of; the templates' words.

    Attributes:
        kind: What it brings.
        name: The word that manifests write after ``type:``.
        distribution: Its name for pip.
        package: Its import name.
        prefix: What its classes begin with.
        summary: One line for listings.
        core_bounds: The versions of modrwkv that it is for, as in ``>=0.1,<0.2``.
        modality: Encoders only: whose signals it reads.
        modality_prefix: What the modality's classes begin with.
        new_modality: Whether it brings the modality, too, because no installed distribution does.
        signal: Encoders only: what it reads.
        stride: Encoders only: steps of a stretch, by default; the shortest example has at least one.
    """

    kind: ScaffoldedKind
    name: str
    distribution: str
    package: str
    prefix: str
    summary: str
    core_bounds: str
    modality: str
    modality_prefix: str
    new_modality: bool
    signal: SignalClass | None
    stride: int

    @property
    def processor_imports(self) -> list[str]:
        """The import lines of other distributions in ``processor.py``, in order."""
        needed = {
            "modrwkv_core.errors": "DataError",
            "modrwkv_core.interfaces.component": "Processor",
            "modrwkv_core.interfaces.values": "MediaItem",
        }
        if self.signal is not None and not self.new_modality:
            needed[self.signal.module] = self.signal.name
        return [f"from {module} import {name}" for module, name in sorted(needed.items())]


def plan_distribution(name: str, kind: ScaffoldedKind, modality: str | None, registry: Registry) -> Plan:
    """Derive all names from one.

    Args:
        name: The component's name; hyphens and underscores are the same.
        kind: Its kind.
        modality: Encoders only: whose signals it reads. If none is installed under that name, a new one is written.
        registry: What is installed.

    Raises:
        PluginError: The name is malformed or taken, the modality is missing or cannot be scaffolded for.
    """
    for word in (name, modality or "x"):
        if not NAME.fullmatch(word) or len(word) > MAX_NAME:
            raise PluginError(
                f"{word!r} is not a valid name",
                hint="use lower-case letters, digits and single underscores or hyphens, a letter first, at most "
                f"{MAX_NAME} characters",
            )
    if (kind == "encoder") != (modality is not None):
        hint = "name its modality with --modality" if modality is None else "leave --modality out"
        raise PluginError(f"encoders read a modality, and nothing else does; {name} is of kind {kind}", hint=hint)
    name = name.replace("-", "_")
    package = f"modrwkv_{name}"
    _refuse_taken(kind, name, package, registry)
    modality = (modality or "").replace("-", "_")
    new_modality = bool(modality) and modality not in {entry.spec.name for entry in registry.modalities()}
    signal = None
    if new_modality:
        signal = SignalClass(
            f"{package}.modality", f"{_camel(modality)}Signal", "values", shortest=32, distribution=None
        )
    elif modality:
        signal = signal_class(modality, registry)
    return Plan(
        kind=kind,
        name=name,
        distribution=package.replace("_", "-"),
        package=package,
        prefix=_camel(name),
        summary=SUMMARIES[kind],
        core_bounds=_bounds(Version(version("modrwkv"))),
        modality=modality,
        modality_prefix=_camel(modality),
        new_modality=new_modality,
        signal=signal,
        stride=min(STRIDE, signal.shortest) if signal is not None else STRIDE,
    )


def write_distribution(plan: Plan, folder: Path) -> list[Path]:
    """Write the distribution into ``folder`` and return its files.

    Raises:
        PluginError: The folder holds something already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PluginError(f"{folder} holds something already", hint="choose another folder with --path, or empty it")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    words = {**asdict(plan), "processor_imports": plan.processor_imports}
    written = []
    for template, content in _templates(plan):
        path = folder / environment.from_string(template).render(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(environment.from_string(content).render(words), encoding="utf-8")
        written.append(path)
    return sorted(written)


def _templates(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield path and content of each template of ``plan``."""
    for part in ("common", plan.kind, *(["modality"] if plan.new_modality else [])):
        for template in sorted((TEMPLATES / part).rglob("*.jinja")):
            path = template.relative_to(TEMPLATES / part).with_suffix("")
            yield path.as_posix(), template.read_text(encoding="utf-8")


def _refuse_taken(kind: ScaffoldedKind, name: str, package: str, registry: Registry) -> None:
    owners = {entry.spec.name: entry.distribution for entry in registry.components(kind)} | known(kind)
    if name in owners:
        raise PluginError(f"{kind} {name!r} is already provided by {owners[name]}", hint="choose another name")
    if find_spec(package) is not None:
        raise PluginError(f"there is a package {package} already", hint="choose another name, or uninstall it")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _bounds(core: Version) -> str:
    """Return the versions that keep their promises to plugins written for ``core``."""
    if core.major:
        return f">={core.major}.{core.minor},<{core.major + 1}"
    return f">=0.{core.minor},<0.{core.minor + 1}"
