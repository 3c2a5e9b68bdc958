"""Encoders and their processors from configurations; those that an encoder is made of are built first."""

from __future__ import annotations

from typing import Any

from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig, encoder_sections
from modrwkv_core.registry import Registry

__all__ = ["build_encoder", "build_processor"]


def build_encoder(registry: Registry, config: EncoderConfig) -> Encoder[Any]:
    """Construct the encoder of ``config`` with fresh weights.

    Raises:
        PluginError: It, or one that it is made of, cannot be imported.
    """
    inner = {name: build_encoder(registry, section) for name, section in encoder_sections(config).items()}
    encoder: Encoder[Any] = registry.implementation("encoder", config.type)(config, **inner)
    return encoder


def build_processor(registry: Registry, config: EncoderConfig) -> Processor[Any, Any]:
    """Construct the processor of the encoder of ``config``.

    Raises:
        PluginError: It, or one of an encoder that it is made of, cannot be imported.
    """
    inner = {name: build_processor(registry, section) for name, section in encoder_sections(config).items()}
    processor: Processor[Any, Any] = registry.processor(config.type)(config, **inner)
    return processor
