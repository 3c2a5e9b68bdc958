"""timm's models as networks of features: built, stripped of what features do not need, and run.

N = images, P = class and register tokens, L = places of the grid, C = channels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from modrwkv_core.errors import ComponentError

__all__ = ["FeatureShape", "create", "feature_shape", "features", "strip", "used_parameters"]

_COMPONENT: Final = "encoder/timm"


@dataclass(frozen=True, slots=True)
class FeatureShape:
    """What a model makes of one image.

    Attributes:
        dim: Channels of a feature.
        patches: Places of the grid.
        prefix_tokens: Class and register tokens before them.
    """

    dim: int
    patches: int
    prefix_tokens: int


def create(name: str, image_size: int, model_args: str, num_classes: int = 0) -> Any:
    """Build a model with fresh weights.

    Args:
        name: timm's name.
        image_size: Height and width of images.
        model_args: Further arguments, as JSON.
        num_classes: Of the classifier; 0 for none.

    Raises:
        ComponentError: The model does not take these arguments.
    """
    known = get_pretrained_cfg(name, allow_unregistered=True)
    sized = {"img_size": image_size} if known is not None and known.fixed_input_size else {}
    try:
        return timm.create_model(name, pretrained=False, num_classes=num_classes, **(sized | json.loads(model_args)))
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ComponentError(
            f"timm cannot build {name} for images of {image_size} pixels with the arguments {model_args}: {error}",
            component=_COMPONENT,
            hint="check image_size and model_args",
        ) from error


def features(model: Any, pixels: Tensor, blocks: Sequence[int] | None, keep_prefix: bool) -> tuple[Tensor, Tensor]:
    """Run a model.

    Args:
        model: One of timm's.
        pixels: ``[N, 3, image_size, image_size]``, normalized.
        blocks: Blocks whose features are taken; None for those of ``forward_features``.
        keep_prefix: Whether the tokens before the grid are wanted.

    Returns:
        Those tokens ``[N, P, C]``, without any where they are not wanted of single blocks, and the features of the grid
        ``[N, L, C]``, row by row.

    Raises:
        ComponentError: The model gives no grid, blocks of different grids, or no tokens of its blocks.
    """
    if blocks is None:
        return _final(model, model.forward_features(pixels))
    kept = {"return_prefix_tokens": True} if keep_prefix else {}
    try:
        taken = model.forward_intermediates(
            pixels, indices=list(blocks), stop_early=True, output_fmt="NCHW", intermediates_only=True, **kept
        )
    except (TypeError, AssertionError, IndexError, AttributeError) as error:
        raise ComponentError(
            f"{type(model).__name__} of timm gives no features of the blocks {list(blocks)}: {error}",
            component=_COMPONENT,
            hint="count blocks from 0 or, negative, from the end; some models keep no class tokens of blocks",
        ) from error
    grids = [each[0] if keep_prefix else each for each in taken]
    if len({grid.shape[2:] for grid in grids}) != 1:
        raise ComponentError(
            f"the blocks {list(blocks)} have different grids: "
            + ", ".join(f"{grid.shape[2]} x {grid.shape[3]}" for grid in grids),
            component=_COMPONENT,
            hint="choose blocks of one stage, or join several encoders by `fusion`",
        )
    grid = torch.cat(grids, dim=1).flatten(2).transpose(1, 2)
    prefix = torch.cat([each[1] for each in taken], dim=2) if keep_prefix else grid[:, :0]
    return prefix, grid


def _final(model: Any, out: Any) -> tuple[Tensor, Tensor]:
    if isinstance(out, Tensor) and out.dim() == 4:
        nhwc = getattr(model, "output_fmt", None) == "NHWC"
        grid = out.flatten(1, 2) if nhwc else out.flatten(2).transpose(1, 2)
        return grid[:, :0], grid
    if not isinstance(out, Tensor) or out.dim() != 3:
        raise ComponentError(
            f"forward_features of {type(model).__name__} of timm gives no grid of features",
            component=_COMPONENT,
            hint="choose one of its `blocks`, or another model",
        )
    count = getattr(model, "num_prefix_tokens", None)
    if count is None:
        # Models that do not say it and have a class token put it before a square.
        count = int(math.isqrt(out.shape[1]) ** 2 != out.shape[1])
    return out[:, :count], out[:, count:]


@cache
def feature_shape(
    name: str, image_size: int, model_args: str, blocks: tuple[int, ...] | None, keep_prefix: bool
) -> FeatureShape:
    """Find the shape of a model's features without computing any: on the device ``meta``.

    Raises:
        ComponentError: timm cannot build the model, or it has no such features.
    """
    with torch.device("meta"):
        model = create(name, image_size, model_args).eval()
        pixels = torch.empty(1, 3, image_size, image_size)
    with torch.no_grad():
        prefix, grid = features(model, pixels, blocks, keep_prefix)
    return FeatureShape(grid.shape[2], grid.shape[1], prefix.shape[1])


def strip(model: nn.Module, used: set[str]) -> None:
    """Remove the modules of which no parameter is in ``used``: classifiers, pooling, norms and blocks after the last.

    Args:
        model: The model.
        used: Names of parameters.
    """
    for name, child in list(model.named_children()):
        own = {parameter for parameter, _ in child.named_parameters()}
        below = {each.removeprefix(f"{name}.") for each in used if each.startswith(f"{name}.")}
        if own and not own & below:
            setattr(model, name, nn.Identity())
        else:
            strip(child, below)
    for name, _ in list(model.named_parameters(recurse=False)):
        if name not in used:
            setattr(model, name, None)


def used_parameters(
    name: str, image_size: int, model_args: str, blocks: tuple[int, ...] | None, keep_prefix: bool
) -> set[str]:
    """Return the names of the parameters that the features depend on, found on the device ``meta``."""
    with torch.device("meta"):
        model = create(name, image_size, model_args).eval()
        pixels = torch.empty(1, 3, image_size, image_size)
    with torch.enable_grad():
        prefix, grid = features(model, pixels, blocks, keep_prefix)
        torch.autograd.backward((torch.cat([prefix, grid], dim=1) if keep_prefix else grid).sum())
    return {key for key, parameter in model.named_parameters() if parameter.grad is not None}
