"""Sections: fields of a configuration that hold the configuration of another component.

An encoder may be made of others, such as one that reads the frames of a video with an image encoder. Its
configuration then has a field for each::

    class FramesConfig(EncoderConfig):
        encoder: Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder", modality="image")]

A manifest writes a section there, ``encoder: {type: siglip2, ...}``, whose ``type`` may be any installed component. Who
builds the component builds those of its sections first and gives them to the constructors as keyword arguments of the
fields' names: encoders to the implementation, ``FramesEncoder(config, encoder=...)``, and their processors to the
processor, ``FramesProcessor(config, encoder=...)``. A field may also hold several encoders by name, as a mapping; the
constructors then get a mapping. This module never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from modrwkv_core.plugin import Kind

__all__ = ["ComponentSection", "SectionReader"]


class SectionReader(Protocol):
    """What the validation context holds as ``components`` while a manifest is read: it knows the installed plugins."""

    def read(self, section: ComponentSection, value: Any, context: Mapping[str, Any]) -> BaseModel:
        """Validate ``value`` by the configuration class of the component that it names."""


@dataclass(frozen=True, slots=True)
class ComponentSection:
    """Annotation of a field that holds the configuration of any installed component of one kind.

    Code that makes the configuration itself, without a manifest, gives a configuration object.

    Attributes:
        kind: The kind.
        modality: Encoders only: the modality whose signals the component must read; None lets it read any.
    """

    kind: Kind
    modality: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_wrap_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"component": self.kind}

    def _validate(self, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if not isinstance(value, BaseModel):
            assert info.context is not None, "sections are read in a manifest; elsewhere, give configuration objects"
            reader: SectionReader = info.context["components"]
            value = reader.read(self, value, info.context)
        return handler(value)
