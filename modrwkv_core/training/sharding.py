"""A model whose weights, gradients and optimizer state are shared out over several devices (FSDP2)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from modrwkv_core.data.batch import Batch
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.training.world import World

__all__ = ["ShardedModel"]


class ShardedModel(nn.Module):
    """The model in shards: each block of the backbone is gathered for its own pass and freed after it.

    All else that learns is one group, gathered for the whole step; parts that never learn stay whole on each device.

    Args:
        model: On the device, equal on all processes.
        world: The processes.
        trained: Names of the parts that some phase trains.
    """

    def __init__(self, model: MultimodalModel, world: World, trained: set[str]) -> None:
        super().__init__()
        self.model = model
        mesh = world.mesh()
        blocks = model.backbone.shardable_blocks()
        for block in blocks:
            fully_shard(block, mesh=mesh)
        whole = [part for name, part in model.parts().items() if name not in trained | {"backbone"}]
        ignored = {parameter for part in whole for parameter in part.parameters()}
        elsewhere = {parameter for module in (*blocks, *whole) for parameter in module.parameters()}
        self._gathered = [name for name, parameter in model.named_parameters() if parameter not in elsewhere]
        fully_shard(self, mesh=mesh, ignored_params=ignored)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the losses of ``batch`` by head, and a zero that depends on every parameter.

        Processes exchange shards as their passes reach them, so every pass must go through every block and give every
        parameter a gradient, whichever media and queries its own conversations have: the zero enters with the tokens.
        """
        model = self.model
        batch = batch.to(model.device)
        x_1TD = model.embed(batch)
        zero = x_1TD.new_zeros(())
        for name in self._gathered:
            parameter = model.get_parameter(name)
            if parameter.requires_grad:
                zero = zero + parameter.sum() * 0.0
        with guard(model.backbone.origin, "forward()"):
            hidden_1TD, _ = model.backbone(x_1TD + zero, cu_seqlens=batch.cu_seqlens)
        return model.supervise(hidden_1TD[0], batch), hidden_1TD.sum() * 0.0

    def release(self) -> None:
        """Give back the shards after passes without gradients, which leave gathered weights in their place."""
        for module in self.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def follow_plan(self) -> None:
        """Let what is gathered learn, or not, as the phase's plan says of the shards."""
        for module in self.modules():
            if isinstance(module, FSDPModule) and (group := module._get_fsdp_state()._fsdp_param_group) is not None:
                for parameter in group.fsdp_params:
                    # FSDP copies the flag when it gathers a parameter for the first time, and never again.
                    if hasattr(parameter, "_unsharded_param"):
                        parameter._unsharded_param.requires_grad_(parameter.sharded_param.requires_grad)

    def sync_gradients(self, enabled: bool) -> None:
        """Whether the next backward pass exchanges gradients; only the last of a step does."""
        cast(FSDPModule, self).set_requires_gradient_sync(enabled)
