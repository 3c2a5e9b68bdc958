"""The base of configurations of components with pretrained weights. Never imports torch.

A subclass declares its sizes with :func:`from_checkpoint` and says where a checkpoint states them::

    class MyConfig(PretrainedEncoderConfig):
        type: Literal["mine"] = "mine"
        hidden_size: int = from_checkpoint(gt=0)

        default_checkpoint = "someone/my-base"
        known_checkpoints = {"someone/my-base": {"hidden_size": 768}}
        config_files = (ConfigFile(("config.json",), {"hidden_size": "d_model"}, model_types=("mine",)),)
"""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.config import ComponentConfig, EncoderConfig
from modrwkv_core.interfaces.paths import CheckpointReference
from modrwkv_core.interfaces.pretrained import checkpoint_json

__all__ = ["ConfigFile", "PretrainedConfig", "PretrainedEncoderConfig", "check_constants", "from_checkpoint"]


def from_checkpoint(**constraints: Any) -> Any:
    """Declare a field whose value comes from the checkpoint unless the manifest gives it.

    Args:
        constraints: Those of :func:`pydantic.Field`, such as ``gt=0``. What a checkpoint states must satisfy them, too.
    """
    return Field(default=None, **constraints)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A JSON file of a checkpoint that states fields of a configuration.

    Attributes:
        names: Names of the file, in order of preference.
        keys: The key in the file, by the name of the field.
        defaults: Values of fields whose key the file may omit, by the name of the field. The other keys are required.
        constants: Keys that have this value, or are absent, in every checkpoint that the component can compute.
        sections: Keys of the object that holds all of these; the first with a value is used, else the whole file.
        model_types: Accepted values of ``model_type``; empty to accept every one.
        translations: Our value by the file's value, by the name of the field.
        prepare: Brings what the file holds into the form that the other attributes describe, where files differ.
    """

    names: tuple[str, ...]
    keys: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()
    translations: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None


class PretrainedConfig(ComponentConfig, ABC):
    """Configuration of a component that a checkpoint or a fresh initialization fills.

    A valid configuration holds a value for every field: fields that the manifest omits are read from the checkpoint, or
    with ``init: scratch`` are those of :attr:`default_checkpoint`. A run therefore does not need the checkpoint again.

    Attributes:
        default_checkpoint: The checkpoint whose sizes a fresh initialization has.
        known_checkpoints: All values of :attr:`config_files` by model id, for use without files or network.
        config_files: Where other checkpoints state their values.
        other_types: Names of components that read what this one cannot, by model id or ``model_type``.
        tokenizer_fields: Fields that only a checkpoint fills: from scratch, the tokenizer decides.
    """

    default_checkpoint: ClassVar[str]
    known_checkpoints: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    config_files: ClassVar[tuple[ConfigFile, ...]]
    other_types: ClassVar[Mapping[str, str]] = {}
    tokenizer_fields: ClassVar[frozenset[str]] = frozenset()

    checkpoint: CheckpointReference | None = None
    """Pretrained weights: a Hugging Face model id, a local folder, or a weight file with ``config.json`` beside it."""

    init: Literal["scratch"] | None = None
    """``scratch`` to initialize fresh weights, trained with the rest."""

    @model_validator(mode="after")
    def _fill_from_checkpoint(self) -> Self:
        if (self.checkpoint is None) == (self.init is None):
            raise ValueError("give either a checkpoint or init: scratch")
        missing = {name for file in self.config_files for name in file.keys if getattr(self, name) is None}
        if self.checkpoint is None:
            missing -= self.tokenizer_fields
        if missing:
            values = self.read_checkpoint(self.checkpoint or self.default_checkpoint, missing)
            self.__dict__.update({name: values[name] for name in missing})  # frozen except for this validator
        return self

    @classmethod
    def known_models(cls) -> Sequence[str]:
        """Return the names of :attr:`known_checkpoints`."""
        return sorted(cls.known_checkpoints)

    @classmethod
    def read_checkpoint(cls, reference: str, names: Collection[str]) -> Mapping[str, Any]:
        """Return what a checkpoint states of the fields ``names``; it may return more.

        Args:
            reference: A Hugging Face model id, a folder, or a weight file.
            names: Names of fields. A file is read only if it states one of them.

        Raises:
            CheckpointError: A file is missing or damaged, a value is not valid, or another component is needed.
        """
        if reference in cls.other_types:
            raise CheckpointError(
                f"checkpoint {reference} is not one of this component", hint=f"use type: {cls.other_types[reference]}"
            )
        if reference in cls.known_checkpoints:
            return cls.known_checkpoints[reference]
        values: dict[str, Any] = {}
        for file in cls.config_files:
            if not file.keys.keys().isdisjoint(names):
                values |= cls._read_file(reference, file)
        return values

    @classmethod
    def _read_file(cls, reference: str, file: ConfigFile) -> dict[str, Any]:
        content = checkpoint_json(reference, *file.names)
        if file.prepare is not None:
            content = file.prepare(content)
        model_type = content.get("model_type")
        if file.model_types and model_type not in file.model_types:
            other = cls.other_types.get(str(model_type))
            raise CheckpointError(
                f"checkpoint {reference} has model_type {model_type!r}, not {' or '.join(map(repr, file.model_types))}",
                hint=f"use type: {other}" if other else f"name a checkpoint such as {cls.default_checkpoint}",
            )
        section = next((content[key] for key in file.sections if content.get(key)), content)
        if not isinstance(section, dict):
            raise CheckpointError(f"checkpoint {reference} has {section!r} where its configuration belongs")
        check_constants(section, file.constants, reference)
        return {name: cls._read_value(section, file, name, reference) for name in file.keys}

    @classmethod
    def _read_value(cls, section: Mapping[str, Any], file: ConfigFile, name: str, reference: str) -> Any:
        key = file.keys[name]
        if key not in section and name in file.defaults:
            return file.defaults[name]
        value = stated = section.get(key)
        if name in file.translations:
            translations = file.translations[name]
            if not isinstance(stated, (str, int)) or stated not in translations:
                accepted = ", ".join(map(repr, translations))
                raise CheckpointError(f"checkpoint {reference} has {key} = {stated!r}, not one of {accepted}")
            value = translations[stated]
        declared = cls.model_fields[name]
        annotation: Any = Annotated[declared.annotation, declared]
        try:
            # JSON has lists where a configuration has tuples; strict, because "24" is not a size.
            return TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            raise CheckpointError(
                f"checkpoint {reference} has {key} = {stated!r}: {error.errors()[0]['msg']}"
            ) from error


class PretrainedEncoderConfig(PretrainedConfig, EncoderConfig, ABC):
    """Configuration of an encoder that a checkpoint or a fresh initialization fills."""


def check_constants(found: Mapping[str, Any], constants: Mapping[str, Any], reference: str) -> None:
    """Refuse a checkpoint whose configuration states another value than the only one that a component computes.

    Args:
        found: What the file states.
        constants: The only accepted value by key; an absent key means this value.
        reference: The checkpoint, for the message.

    Raises:
        CheckpointError: Names the first key that differs.
    """
    for key, constant in constants.items():
        if found.get(key, constant) != constant:
            raise CheckpointError(
                f"checkpoint {reference} has {key} = {found[key]!r}, but this component computes {constant!r} only",
                hint="name another checkpoint, or another component",
            )
