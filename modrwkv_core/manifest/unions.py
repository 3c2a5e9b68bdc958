"""Component sections: discriminated unions whose members are the installed plugins' configuration classes.

A section's ``type`` (for data sources: ``source``) names a component; the registry imports that component's
configuration class, and no other, and the section is validated by it. ``type: distribution/name`` says whose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import InitErrorDetails

from modrwkv_core.errors import ManifestError, ModRWKVError
from modrwkv_core.interfaces.config import (
    AdapterConfig,
    AugmentationConfig,
    BackboneConfig,
    CompressorConfig,
    EncoderConfig,
    FinetuningConfig,
    HeadConfig,
    OptimizerConfig,
    SchedulerConfig,
    SourceConfig,
    TaskConfig,
    TokenizerConfig,
)
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.sections import ComponentSection
from modrwkv_core.manifest.sections import Name, refusal, refuse_unknown_keys
from modrwkv_core.plugin import ComponentSpec, Kind

if TYPE_CHECKING:
    from modrwkv_core.registry import Registry
    from modrwkv_core.registry.records import Entry

__all__ = [
    "AdapterSection",
    "AugmentationSection",
    "BackboneSection",
    "Components",
    "CompressorSection",
    "EncoderSection",
    "FinetuningSection",
    "HeadSection",
    "ModalityName",
    "OptimizerSection",
    "SchedulerSection",
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

    def read(self, section: ComponentSection, value: Any, context: Mapping[str, Any]) -> BaseModel:
        """Validate a section of the manifest by the configuration class of the component that it names.

        Raises:
            ValidationError: It names none that can stand there, or that component's configuration refuses it.
        """
        kind = section.kind
        key = tag_key(kind)
        if not isinstance(value, Mapping):
            example = f"for example {{{key}: {next(iter(self.registry.names(kind)), 'NAME')}}}"
            raise _refused(kind, (), value, f"must be a mapping that says its {key}, not {value!r}", example)
        word = value.get(key)
        if not isinstance(word, str):
            message = "required, but missing" if word is None else f"must be the name of a component, not {word!r}"
            hint = f"{key}: one of {', '.join(self.registry.names(kind))}"
            raise _refused(kind, (key,), word, message, hint)
        try:
            name, model = self.config_class(kind, word)
        except ModRWKVError as error:
            problem = InitErrorDetails(type="value_error", loc=(key,), input=word, ctx={"error": error})
            raise ValidationError.from_exception_data(kind, [problem]) from error
        self._refuse_other_signals(section, name)
        if model.model_config.get("extra") == "forbid":
            refuse_unknown_keys(model, value)
        with guard(self.used[kind, name].origin, "its configuration", ValidationError):
            return model.model_validate({**value, key: name}, context=dict(context))

    def _refuse_other_signals(self, section: ComponentSection, name: str) -> None:
        wanted, reads = section.modality, self.used[section.kind, name].spec.modality
        if wanted in (None, reads):
            return
        fitting = [entry.spec.name for entry in self.registry.components(section.kind) if entry.spec.modality == wanted]
        message = f"{section.kind} '{name}' reads '{reads}', but '{wanted}' is to be read here"
        hint = f"{section.kind}s of '{wanted}': {', '.join(fitting) or 'none is installed'}"
        raise _refused(section.kind, ("type",), name, message, hint)


def tag_key(kind: Kind) -> str:
    """Return the key by which a section of this kind names its component."""
    return "source" if kind == "source" else "type"


def _refused(title: str, path: tuple[str | int, ...], value: Any, message: str, hint: str) -> ValidationError:
    return ValidationError.from_exception_data(title, [refusal(path, value, message, hint)])


def _known_modality(name: str, info: ValidationInfo) -> str:
    if info.context is not None:
        components: Components = info.context["components"]
        components.registry.modality(name)
    return name


ModalityName: TypeAlias = Annotated[Name, AfterValidator(_known_modality)]
"""The name of an installed modality."""

EncoderSection: TypeAlias = Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder")]
CompressorSection: TypeAlias = Annotated[SerializeAsAny[CompressorConfig], ComponentSection("compressor")]
AdapterSection: TypeAlias = Annotated[SerializeAsAny[AdapterConfig], ComponentSection("adapter")]
BackboneSection: TypeAlias = Annotated[SerializeAsAny[BackboneConfig], ComponentSection("backbone")]
HeadSection: TypeAlias = Annotated[SerializeAsAny[HeadConfig], ComponentSection("head")]
TokenizerSection: TypeAlias = Annotated[SerializeAsAny[TokenizerConfig], ComponentSection("tokenizer")]
SourceSection: TypeAlias = Annotated[SerializeAsAny[SourceConfig], ComponentSection("source")]
TaskSection: TypeAlias = Annotated[SerializeAsAny[TaskConfig], ComponentSection("task")]
OptimizerSection: TypeAlias = Annotated[SerializeAsAny[OptimizerConfig], ComponentSection("optimizer")]
SchedulerSection: TypeAlias = Annotated[SerializeAsAny[SchedulerConfig], ComponentSection("scheduler")]
FinetuningSection: TypeAlias = Annotated[SerializeAsAny[FinetuningConfig], ComponentSection("finetuning")]
AugmentationSection: TypeAlias = Annotated[SerializeAsAny[AugmentationConfig], ComponentSection("augmentation")]
