"""Writes a new distribution from the templates beside this file: whole, typed, tested, and small enough to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import jinja2
from packaging.version import Version

from modrwkv_core.authoring.kinds import SCAFFOLDS
from modrwkv_core.authoring.signal import SignalClass, signal_class
from modrwkv_core.errors import PluginError
from modrwkv_core.plugin import MAX_NAME, NAME
from modrwkv_core.registry import Registry
from modrwkv_core.registry.hints import known

__all__ = ["Plan", "plan_distribution", "write_distribution"]

STRIDE: Final = 8
"""Steps of a stretch where examples are long enough."""

TEMPLATES: Final = Path(__file__).with_name("templates")
"""A folder for each kind, and ``common`` for all. Files that end with .jinja are written, others are included by them;
a kind's file takes the place of the common one of the same path, which it may extend."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new distribution is called and made of; the templates' words.

    Attributes:
        scaffold: What is written; one of :data:`~modrwkv_core.authoring.kinds.SCAFFOLDS`.
        kind: What it registers.
        label: What prose calls that.
        name: The word that manifests write after ``type:``, or the command line.
        distribution: Its name for pip.
        package: Its import name.
        prefix: What its classes begin with.
        summary: One line for listings.
        core_bounds: The versions of modrwkv that it is for, as in ``>=0.1,<0.2``.
        requires: What else it needs installed.
        modality: The modality that it brings, or whose signals it reads or changes; empty for kinds that know none.
        modality_prefix: What the modality's classes begin with.
        new_modality: Whether it brings the modality, because no installed distribution does.
        signal: The modality's signals.
        stride: Encoders only: steps of a stretch, by default; the shortest example has at least one.
    """

    scaffold: str
    kind: str
    label: str
    name: str
    distribution: str
    package: str
    prefix: str
    summary: str
    core_bounds: str
    requires: tuple[str, ...]
    modality: str
    modality_prefix: str
    new_modality: bool
    signal: SignalClass | None
    stride: int

    @property
    def processor_imports(self) -> list[str]:
        """The import lines of other distributions in ``processor.py``, in order."""
        return self._imports(
            {
                "modrwkv_core.errors": "DataError",
                "modrwkv_core.interfaces.component": "Processor",
                "modrwkv_core.interfaces.values": "MediaItem",
            }
        )

    @property
    def augmentation_imports(self) -> list[str]:
        """The import lines of other distributions in ``augmentation.py``, in order."""
        return self._imports(
            {"modrwkv_core.interfaces.augmentation": "SignalAugmentation", "numpy.random": "Generator"}
        )

    def _imports(self, needed: dict[str, str]) -> list[str]:
        if self.signal is not None and not self.new_modality:
            needed = needed | {self.signal.module: self.signal.name}
        return [f"from {module} import {name}" for module, name in sorted(needed.items())]


def plan_distribution(name: str, kind: str, modality: str | None, registry: Registry) -> Plan:
    """Derive all names from one.

    Args:
        name: The name of what it brings; hyphens and underscores are the same.
        kind: Its kind, one of :data:`~modrwkv_core.authoring.kinds.SCAFFOLDS`.
        modality: Encoders and augmentations only: whose signals it reads or changes. If none is installed under that
            name, a new one is written for an encoder.
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
    if (kind in ("encoder", "augmentation")) != (modality is not None):
        hint = "name its modality with --modality" if modality is None else "leave --modality out"
        raise PluginError(
            f"encoders and augmentations name a modality, and nothing else does; {name} is of kind {kind}", hint=hint
        )
    name = name.replace("-", "_")
    package = f"modrwkv_{name}"
    scaffold = SCAFFOLDS[kind]
    _refuse_taken(scaffold.kind or kind, name, package, registry)
    modality = name if kind == "modality" else (modality or "").replace("-", "_")
    is_installed = modality in {entry.spec.name for entry in registry.modalities()}
    new_modality = kind in ("encoder", "modality") and not is_installed
    signal = None
    if new_modality:
        signal = SignalClass(
            f"{package}.modality", f"{_camel(modality)}Signal", "values", shortest=32, distribution=None
        )
    elif modality:
        signal = signal_class(modality, registry)
    return Plan(
        scaffold=kind,
        kind=scaffold.kind or kind,
        label=scaffold.label,
        name=name,
        distribution=package.replace("_", "-"),
        package=package,
        prefix=_camel(name),
        summary=scaffold.summary,
        core_bounds=_bounds(Version(version("modrwkv"))),
        requires=scaffold.requires,
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    words = {**asdict(plan), "processor_imports": plan.processor_imports}
    words["augmentation_imports"] = plan.augmentation_imports
    written = []
    for target, template in _templates(plan).items():
        path = folder / environment.from_string(target).render(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(environment.get_template(template).render(words), encoding="utf-8")
        written.append(path)
    return sorted(written)


def _templates(plan: Plan) -> dict[str, str]:
    """Return the names of the templates of ``plan`` by the paths that they are written to, in templates' words."""
    found: dict[str, str] = {}
    for part in ("common", *(["modality"] if plan.new_modality else []), plan.scaffold):
        for template in sorted((TEMPLATES / part).rglob("*.jinja")):
            target = template.relative_to(TEMPLATES / part).with_suffix("")
            found[target.as_posix()] = template.relative_to(TEMPLATES).as_posix()
    return found


def _refuse_taken(kind: str, name: str, package: str, registry: Registry) -> None:
    owners = {
        spec.name: plugin.distribution
        for plugin in registry.plugins
        for provided, spec in plugin.provided()
        if provided == kind
    } | known(kind)
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
