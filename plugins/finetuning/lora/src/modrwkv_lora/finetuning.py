"""LoRA by peft, on the linear layers of a component."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Backbone, Component, Encoder
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_lora.config import LoRAConfig
from modrwkv_lora.layer import ADAPTER, LoRALinear

__all__ = ["LoRAFinetuning"]


class LoRAFinetuning(FinetuningMethod[LoRAConfig]):
    """Trains low-rank updates of linear layers (Hu et al., ICLR 2022), initialized to no change."""

    def prepare(self, part: Component) -> None:
        """Wrap the target layers that are not wrapped yet.

        Raises:
            ComponentError: No layer matches, or an earlier phase gave a layer other settings.
        """
        targets = self._targets(part)
        wrapped = {name: layer for name, layer in targets.items() if isinstance(layer, LoRALinear)}
        for name, layer in wrapped.items():
            self._check_same(name, layer)
        if fresh := targets.keys() - wrapped.keys():
            config = LoraConfig(
                r=self.config.rank,
                lora_alpha=self.config.alpha,  # type: ignore[arg-type]
                lora_dropout=self.config.dropout,
                target_modules="|".join(map(re.escape, sorted(fresh))),
            )
            config._register_custom_module({nn.Linear: LoRALinear})
            inject_adapter_in_model(config, part, adapter_name=ADAPTER)
            del part.peft_config  # peft takes it for the mark of another model's adapter

    def trainable(self, part: Component) -> set[str]:
        """Return the names of the low-rank matrices; all parameters of parts that learn in full."""
        names = {name for name, _ in part.named_parameters()}
        targets = self._targets(part)
        if not any(isinstance(layer, LoRALinear) for layer in targets.values()):
            return {f"{name}.weight" for name in targets} or names
        return {name for name in names if any(name.startswith(f"{target}.lora_") for target in targets)}

    def frozen(self, part: Component) -> set[str]:
        """Return the names of all other parameters."""
        return {name for name, _ in part.named_parameters()} - self.trainable(part)

    def merge(self, part: Component) -> None:
        """Add the updates to the weights of the layers."""
        for name, layer in [*part.named_modules()]:
            if isinstance(layer, LoRALinear):
                layer.merge(safe_merge=True)
                part.set_submodule(name, layer.get_base_layer())

    def _targets(self, part: Component) -> dict[str, nn.Module]:
        """Return the layers of a part that get an update; none of a part that learns in full.

        Raises:
            ComponentError: No layer matches.
        """
        if not isinstance(part, Backbone | Encoder):
            return {}
        layers = _linear_layers(part)
        globs = self.config.targets
        if globs is None:
            output = part.output_weight if isinstance(part, Backbone) else None
            targets = {name: layer for name, layer in layers.items() if layer.weight is not output}
        else:
            targets = {name: layer for name, layer in layers.items() if any(fnmatchcase(name, each) for each in globs)}
        if not targets:
            shown = ", ".join([*layers][:8]) or "none"
            raise ComponentError(
                f"{type(part).__name__} has no linear layer that matches {', '.join(globs or ['*'])}",
                component="finetuning/lora",
                hint=f"its linear layers: {shown}; correct `targets`, or leave the part out of `train`",
            )
        return targets

    def _check_same(self, name: str, layer: LoRALinear) -> None:
        config = self.config
        before = (layer.r[ADAPTER], layer.lora_alpha[ADAPTER])
        if before != (config.rank, config.alpha):
            raise ComponentError(
                f"the layer {name} has rank {before[0]} and alpha {before[1]} from an earlier phase",
                component="finetuning/lora",
                hint="give both phases the same `rank` and `alpha`",
            )


def _linear_layers(part: Component) -> dict[str, nn.Module]:
    """Return the linear layers of a part by name; one that is wrapped counts as itself, not as the layers within."""
    layers: dict[str, nn.Module] = {}
    for name, module in part.named_modules():
        inside = any(name.startswith(f"{wrapped}.") for wrapped in layers)
        if isinstance(module, nn.Linear | LoRALinear) and not inside:
            layers[name] = module
    return layers
