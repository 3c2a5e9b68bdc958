"""A vision backbone of timm as an encoder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.models import model_entrypoint, split_model_name_tag
from torch import Tensor

from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.pretrained import load_strictly, load_tensors
from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_timm.config import TimmConfig
from modrwkv_timm.network import create, features, strip, used_parameters

__all__ = ["TimmEncoder"]


class TimmEncoder(PretrainedEncoder[TimmConfig]):
    """Images to one vector for each place of the grid, after the class and register tokens if they are kept.

    The model keeps only what its features need.

    Args:
        config: The model, and which of its features.

    Raises:
        ComponentError: timm cannot build the model.
    """

    def __init__(self, config: TimmConfig) -> None:
        super().__init__(config)
        assert config.model is not None, "completed by the configuration"
        assert config.image_size is not None, "completed by the configuration"
        self._arguments = (config.model, config.image_size, json.dumps(config.model_args, sort_keys=True))
        self.model: Any = create(*self._arguments)
        strip(self.model, used_parameters(*self._arguments, config.blocks, config.keep_prefix_tokens))

    def load_pretrained(self) -> None:
        """Load the checkpoint that the configuration names, if any.

        timm brings names and positions of other layouts and sizes into its own; classifiers and what else features do
        not need are left out.

        Raises:
            CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
        """
        reference = self.config.checkpoint
        if reference is None:
            return
        with torch.device("meta"):
            whole = create(*self._arguments, num_classes=1)
        tensors = self._converted(load_tensors(reference), whole, reference)
        unused = whole.state_dict().keys() - self.model.state_dict().keys()
        load_strictly(self.model, {name: each for name, each in tensors.items() if name not in unused}, reference)

    def _converted(self, tensors: dict[str, Tensor], whole: Any, reference: str) -> dict[str, Tensor]:
        architecture, _ = split_model_name_tag(self._arguments[0])
        module = sys.modules[model_entrypoint(architecture).__module__]
        convert: Callable[[dict[str, Tensor], Any], dict[str, Tensor]] | None = getattr(
            module, "checkpoint_filter_fn", getattr(module, "_filter_fn", None)
        )
        if convert is None:
            return tensors
        try:
            return convert(tensors, whole)
        except Exception as error:  # timm's converters expect the model's own tensors
            raise CheckpointError(
                f"checkpoint {reference} is not one of {self._arguments[0]}: {type(error).__name__}: {error}",
                component="encoder/timm",
                hint="check that the manifest names the right checkpoint and model",
            ) from error

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode images: ``values [N, tokens and places, hidden_size]``, row by row."""
        config = self.config
        assert config.mean is not None, "completed by the configuration"
        assert config.std is not None, "completed by the configuration"
        pixels = normalize_pixels(torch.stack([item.tensors["pixels"] for item in items]), config.mean, config.std)
        pixels = pixels.to(next(self.model.parameters()).dtype)
        prefix, grid = features(self.model, pixels, config.blocks, config.keep_prefix_tokens)
        if (grid.shape[1], grid.shape[2]) != (config.patches, config.hidden_size):
            raise ComponentError(
                f"{config.model} gives {grid.shape[1]} features of dimension {grid.shape[2]}, but the configuration "
                f"says {config.patches} of {config.hidden_size}",
                component="encoder/timm",
                hint="leave patches and hidden_size out of the manifest",
            )
        values = torch.cat([prefix, grid], dim=1) if config.keep_prefix_tokens else grid
        return Features(values.contiguous(), torch.full((len(items),), values.shape[1]))
