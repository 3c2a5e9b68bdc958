"""What timm knows of its models without their weights, and what a checkpoint says of itself."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import timm
from timm.data.config import resolve_data_config
from timm.models import get_pretrained_cfg, is_model, split_model_name_tag

from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.pretrained import checkpoint_file, checkpoint_json
from modrwkv_timm.network import feature_shape

if TYPE_CHECKING:
    from modrwkv_timm.config import TimmConfig

__all__ = ["missing_values", "model_names"]

_COMPONENT: Final = "encoder/timm"
_HUB: Final = "timm/"
_OWN_ARGUMENTS: Final = frozenset({"img_size", "in_chans", "num_classes", "global_pool"})
"""Arguments in files of checkpoints that the encoder sets itself."""


@cache
def model_names() -> Sequence[str]:
    """Return the names of all models: with each tag of pretrained weights, or without any."""
    tagged = timm.list_pretrained()
    bare = set(timm.list_models()) - {split_model_name_tag(name)[0] for name in tagged}
    return sorted([*tagged, *bare])


def missing_values(config: TimmConfig) -> dict[str, Any]:
    """Return values for the fields of ``config`` that are None.

    Raises:
        ComponentError: timm has no such model, or cannot build it so.
        CheckpointError: The checkpoint is missing, damaged or of another model.
    """
    stated = _stated(config)
    name = config.model or _name(config, stated)
    _check_name(name)
    if "architecture" in stated and split_model_name_tag(name)[0] != stated["architecture"]:
        raise CheckpointError(
            f"checkpoint {config.checkpoint} is of {stated['architecture']!r}, not of {name!r}",
            component=_COMPONENT,
            hint="leave `model` out: the checkpoint names it",
        )
    stated_args = dict(stated.get("model_args") or {})
    img_size = stated_args.get("img_size")
    model_args = config.model_args
    if model_args is None:
        model_args = {key: value for key, value in stated_args.items() if key not in _OWN_ARGUMENTS}
    pretrained_cfg = stated.get("pretrained_cfg")
    if pretrained_cfg is None:
        known = get_pretrained_cfg(name, allow_unregistered=True)
        pretrained_cfg = asdict(known) if known is not None else {}
    found: dict[str, Any] = {"model": name, "model_args": model_args, **_preprocessing(pretrained_cfg, name, config)}
    if img_size is not None:
        found["image_size"] = img_size if isinstance(img_size, int) else img_size[0]
    shape = feature_shape(
        name,
        config.image_size or found["image_size"],
        json.dumps(model_args, sort_keys=True),
        config.blocks,
        config.keep_prefix_tokens,
    )
    found |= {"hidden_size": shape.dim, "patches": shape.patches, "prefix_tokens": shape.prefix_tokens}
    for key in ("hidden_size", "patches", "prefix_tokens"):
        if getattr(config, key) not in (None, found[key]):
            raise ComponentError(
                f"{key} is {getattr(config, key)} in the configuration, but {found[key]} in {name}",
                component=_COMPONENT,
                hint=f"leave {key} out",
            )
    return {key: value for key, value in found.items() if getattr(config, key) is None}


def _stated(config: TimmConfig) -> Mapping[str, Any]:
    """Return timm's configuration file of a checkpoint; empty where timm itself knows the checkpoint, or none is."""
    reference = config.checkpoint
    if reference is None or reference.removeprefix(_HUB) in model_names():
        return {}
    if config.model is not None and Path(reference).is_file() and checkpoint_file(reference, "config.json") is None:
        return {}
    if reference.startswith(_HUB):
        _check_architecture(reference.removeprefix(_HUB))
    content = checkpoint_json(reference, "config.json")
    if not isinstance(content.get("architecture"), str):
        raise CheckpointError(
            f"checkpoint {reference} is not one of timm: its config.json names no architecture",
            component=_COMPONENT,
            hint="name a checkpoint of timm, or the encoder that the checkpoint belongs to",
        )
    return content


def _name(config: TimmConfig, stated: Mapping[str, Any]) -> str:
    if "architecture" in stated:
        tag = (stated.get("pretrained_cfg") or {}).get("tag")
        name = f"{stated['architecture']}.{tag}"
        return name if tag and name in model_names() else str(stated["architecture"])
    if config.checkpoint is None:
        raise ValueError("init: scratch needs `model`; `modrwkv plugins info timm --list` lists the names")
    return config.checkpoint.removeprefix(_HUB)


def _check_name(name: str) -> None:
    _check_architecture(name)
    architecture, tag = split_model_name_tag(name)
    if tag and name not in model_names():
        _refuse(name, [known for known in model_names() if split_model_name_tag(known)[0] == architecture])


def _check_architecture(name: str) -> None:
    if not is_model(split_model_name_tag(name)[0]):
        _refuse(name, difflib.get_close_matches(name, [*model_names(), *timm.list_models()], n=3, cutoff=0.5))


def _refuse(name: str, close: Sequence[str]) -> NoReturn:
    meant = f"did you mean {' or '.join(close[:5])}? " if close else ""
    raise ComponentError(
        f"timm {timm.__version__} has no model {name!r}",
        component=_COMPONENT,
        hint=f"{meant}`modrwkv plugins info timm --list` lists the names",
    )


def _preprocessing(pretrained_cfg: Mapping[str, Any], name: str, config: TimmConfig) -> dict[str, Any]:
    resolve: Any = resolve_data_config  # untyped
    data = resolve(pretrained_cfg=dict(pretrained_cfg))
    channels, height, width = data["input_size"]
    if channels != 3 or (height != width and config.image_size is None):
        raise ComponentError(
            f"{name} reads images of {channels} colors and {height} x {width} pixels",
            component=_COMPONENT,
            hint="give image_size" if channels == 3 else "use a model that reads red, green and blue",
        )
    return {
        "image_size": height,
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
        "interpolation": data["interpolation"],
        "crop_pct": data["crop_pct"],
        "crop_mode": data["crop_mode"],
    }
