"""All that a plugin author imports to register something: the hook marker and the records that hooks return.

A plugin's entry point names a *light* module. Its hook implementations return the records below, which hold
``"package.module:attribute"`` strings instead of classes: listing what is installed never imports torch,
transformers or timm. Configuration classes are imported when a manifest or a schema needs them, implementations when
a model is assembled. This module therefore imports the standard library and pluggy only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

import pluggy

__all__ = [
    "KINDS",
    "MAX_NAME",
    "NAME",
    "PLUGIN_API",
    "CommandSpec",
    "ComponentSpec",
    "Kind",
    "ModalitySpec",
    "PresetSpec",
    "hookimpl",
]

PLUGIN_API: Final = 1
"""Version of the contract between the core and a plugin. A record with another number is refused as incompatible."""

Kind: TypeAlias = Literal[
    "encoder",
    "compressor",
    "adapter",
    "backbone",
    "head",
    "tokenizer",
    "source",
    "task",
    "metric",
    "optimizer",
    "scheduler",
    "finetuning",
    "augmentation",
]

NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
"""What components, modalities, presets and commands may be called: words of lower-case letters and digits, the first
beginning with a letter, joined by single hyphens or underscores; at most :data:`MAX_NAME` characters."""

MAX_NAME: Final = 24
"""Characters of a name: tables and generated code stay readable with it."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

hookimpl = pluggy.HookimplMarker("modrwkv")
"""Marks a function of a light module as an implementation of a hook of :mod:`modrwkv_core.hookspecs`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """One component that manifests can name.

    Attributes:
        api: The :data:`PLUGIN_API` that the plugin was written for, as a number: a plugin that named the constant
            would never look old.
        kind: What it is; one of :data:`KINDS`.
        name: The word a manifest writes after ``type:``, of the form :data:`NAME`.
        summary: One line for listings.
        config: ``"module:Class"`` of its configuration, a subclass of
            :class:`modrwkv_core.interfaces.config.ComponentConfig`.
        implementation: ``"module:Class"`` of what the configuration builds; the constructor's arguments are those of
            the kind's interface in :mod:`modrwkv_core.interfaces`.
        processor: Encoders only: ``"module:Class"`` of the picklable object that turns a signal into a media item.
        modality: The name of the modality whose signals an encoder reads or an augmentation changes. Augmentations of
            features leave it out: they fit all modalities. Other kinds have none.
        paper: Where it comes from, if it comes from a paper.
        aliases: Former names that manifests may still use; using one warns.
    """

    api: int
    kind: Kind
    name: str
    summary: str
    config: str
    implementation: str
    processor: str | None = None
    modality: str | None = None
    paper: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalitySpec:
    """One kind of signal: how files, bytes and arrays of it are decoded.

    Attributes:
        api: The :data:`PLUGIN_API` that the plugin was written for, as a number: a plugin that named the constant
            would never look old.
        name: The word used in manifests and records (``image``), and the command line's option (``--image``), of the
            form :data:`NAME`.
        summary: One line for listings.
        implementation: ``"module:Class"`` of a :class:`modrwkv_core.interfaces.modality.Modality`.
        suffixes: File name endings that it decodes, lower case, with the dot.
    """

    api: int
    name: str
    summary: str
    implementation: str
    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetSpec:
    """A named piece of manifest that others build on with ``extends:``.

    Attributes:
        api: The :data:`PLUGIN_API` that the plugin was written for, as a number: a plugin that named the constant
            would never look old.
        name: The word after ``extends:``, of the form :data:`NAME`.
        summary: One line for listings.
        resource: ``"package:path/inside/package.yaml"``.
    """

    api: int
    name: str
    summary: str
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec:
    """A command of the ``modrwkv`` program.

    Attributes:
        api: The :data:`PLUGIN_API` that the plugin was written for, as a number: a plugin that named the constant
            would never look old.
        name: The word on the command line, of the form :data:`NAME`.
        summary: One line for ``modrwkv --help``.
        command: ``"module:attribute"`` of a :class:`click.Command`.
    """

    api: int
    name: str
    summary: str
    command: str
