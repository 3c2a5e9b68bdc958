"""Components from configurations; encoders that one is made of are built first.

A component's constructor is the plugin's code: what it raises names the plugin, and what it made knows who provides it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig, build_sections
from modrwkv_core.interfaces.guard import Origin, guard
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.plugin import Kind
from modrwkv_core.registry import Registry

__all__ = ["build", "build_encoder", "build_modality", "build_processor"]


def build(registry: Registry, kind: Kind, name: str, *arguments: Any, **sections: Any) -> Any:
    """Construct the component ``name``; modules get fresh weights.

    Args:
        registry: What is installed.
        kind: The component's kind.
        name: Its name.
        arguments: What the kind's interface says its constructor takes, the configuration first.
        sections: The components that it is made of.

    Raises:
        PluginError: It cannot be imported, is no subclass of the kind's interface, or its constructor failed.
    """
    implementation = registry.implementation(kind, name)
    return _construct(implementation, registry.component(kind, name).origin, *arguments, **sections)


def build_encoder(registry: Registry, config: EncoderConfig) -> Encoder[Any]:
    """Construct the encoder of ``config`` with fresh weights.

    Raises:
        PluginError: As in :func:`build`, for it or for one that it is made of.
    """
    inner = build_sections(config, partial(build_encoder, registry))
    encoder: Encoder[Any] = build(registry, "encoder", config.type, config, **inner)
    return encoder


def build_processor(registry: Registry, config: EncoderConfig) -> Processor[Any, Any]:
    """Construct the processor of the encoder of ``config``.

    Raises:
        PluginError: As in :func:`build`, for it or for that of an encoder that it is made of.
    """
    inner = build_sections(config, partial(build_processor, registry))
    origin = registry.component("encoder", config.type).origin
    processor: Processor[Any, Any] = _construct(registry.processor(config.type), origin, config, **inner)
    return processor


def build_modality(registry: Registry, name: str) -> Modality[Any]:
    """Construct the modality ``name``.

    Raises:
        PluginError: As in :func:`build`.
    """
    modality: Modality[Any] = _construct(registry.modality_class(name), registry.modality(name).origin)
    return modality


def _construct(implementation: type[Any], origin: Origin, *arguments: Any, **sections: Any) -> Any:
    with guard(origin, f"{implementation.__name__}()"):
        built = implementation(*arguments, **sections)
    # Past the class's own __setattr__: a frozen dataclass may be a processor.
    object.__setattr__(built, "origin", origin)
    return built
