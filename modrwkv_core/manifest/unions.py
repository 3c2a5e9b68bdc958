"""Component sections: discriminated unions whose members are the installed plugins' configuration classes.

A section's ``type`` (for data sources: ``source``) names a component; the registry imports that component's
configuration class, and no other, and the section is validated by it. ``type: distribution/name`` says whose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from modrwkv_core.errors import ManifestError, ModRWKVError
from modrwkv_core.interfaces.config import (
    AdapterConfig,
    BackboneConfig,
    CompressorConfig,
    EncoderConfig,
    HeadConfig,
    SourceConfig,
    TaskConfig,
    TokenizerConfig,
)
from modrwkv_core.manifest.sections import Name, refusal, refuse_unknown_keys
from modrwkv_core.plugin import ComponentSpec, Kind

if TYPE_CHECKING:
    from modrwkv_core.registry import Registry
    from modrwkv_core.registry.records import Entry

__all__ = [
    "AdapterSection",
    "BackboneSection",
    "Components",
    "CompressorSection",
    "EncoderSection",
    "HeadSection",
    "ModalityName",
    "SourceSection",
    "TaskSection",
    "TokenizerSection",
    "tag_key",
]


class Components:
    """The registry as one manifest uses it, the validation context's ``components``.

    Attributes:
        registry: Finds components.
        used: What the manifest's sections named, by kind and name.
        pinned: Of those, the distributions that ``type: distribution/name`` asked for, by ``kind/name``.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.used: dict[tuple[Kind, str], Entry[ComponentSpec]] = {}
        self.pinned: dict[str, str] = {}

    def config_class(self, kind: Kind, word: str) -> tuple[str, type[BaseModel]]:
        """Return the name and the configuration class of the component that a section calls ``word``.

        Raises:
            PluginError: There is none, or it cannot be used.
            ManifestError: The manifest takes one name from two distributions.
        """
        entry = self.registry.component(kind, word)
        name = entry.spec.name
        first = self.used.setdefault((kind, name), entry)
        if first.distribution != entry.distribution:
            raise ManifestError(
                f"{kind} '{name}' is taken from {first.distribution} elsewhere and from {entry.distribution} here",
                hint="use one of them in the whole manifest",
            )
        if "/" in word:
            self.pinned[f"{kind}/{name}"] = entry.distribution
        return name, self.registry.config_class(kind, f"{entry.distribution}/{name}")


def tag_key(kind: Kind) -> str:
    """Return the key by which a section of this kind names its component."""
    return "source" if kind == "source" else "type"


@dataclass(frozen=True, slots=True)
class _Union:
    """Annotation of a field that holds a component's configuration."""

    kind: Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_wrap_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"component": self.kind}

    def _validate(self, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, BaseModel):
            return handler(value)
        key = tag_key(self.kind)
        if not isinstance(value, Mapping):
            example = f"for example {{{key}: {next(iter(_names(info, self.kind)), 'NAME')}}}"
            raise _refused(self.kind, (), value, f"must be a mapping that says its {key}, not {value!r}", example)
        word = value.get(key)
        if not isinstance(word, str):
            message = "required, but missing" if word is None else f"must be the name of a component, not {word!r}"
            raise _refused(self.kind, (key,), word, message, f"{key}: one of {', '.join(_names(info, self.kind))}")
        try:
            name, model = _components(info).config_class(self.kind, word)
        except ModRWKVError as error:
            problem = InitErrorDetails(type="value_error", loc=(key,), input=word, ctx={"error": error})
            raise ValidationError.from_exception_data(self.kind, [problem]) from error
        if model.model_config.get("extra") == "forbid":
            refuse_unknown_keys(model, value)
        return model.model_validate({**value, key: name}, context=info.context)


def _components(info: ValidationInfo) -> Components:
    assert info.context is not None, "load_manifest reads sections; where there is none, give configuration objects"
    components: Components = info.context["components"]
    return components


def _names(info: ValidationInfo, kind: Kind) -> tuple[str, ...]:
    return _components(info).registry.names(kind)


def _refused(title: str, path: tuple[str | int, ...], value: Any, message: str, hint: str) -> ValidationError:
    return ValidationError.from_exception_data(title, [refusal(path, value, message, hint)])


def _known_modality(name: str, info: ValidationInfo) -> str:
    if info.context is not None:
        _components(info).registry.modality(name)
    return name


ModalityName: TypeAlias = Annotated[Name, AfterValidator(_known_modality)]
"""The name of an installed modality."""

EncoderSection: TypeAlias = Annotated[SerializeAsAny[EncoderConfig], _Union("encoder")]
CompressorSection: TypeAlias = Annotated[SerializeAsAny[CompressorConfig], _Union("compressor")]
AdapterSection: TypeAlias = Annotated[SerializeAsAny[AdapterConfig], _Union("adapter")]
BackboneSection: TypeAlias = Annotated[SerializeAsAny[BackboneConfig], _Union("backbone")]
HeadSection: TypeAlias = Annotated[SerializeAsAny[HeadConfig], _Union("head")]
TokenizerSection: TypeAlias = Annotated[SerializeAsAny[TokenizerConfig], _Union("tokenizer")]
SourceSection: TypeAlias = Annotated[SerializeAsAny[SourceConfig], _Union("source")]
TaskSection: TypeAlias = Annotated[SerializeAsAny[TaskConfig], _Union("task")]
