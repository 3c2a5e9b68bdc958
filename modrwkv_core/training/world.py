"""The processes that train one model together, and what they agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from modrwkv_core.errors import ModRWKVError

__all__ = ["PeerError", "World", "joined"]

TIMEOUT = timedelta(minutes=10)
"""Longest wait for a process that loads data or writes a checkpoint."""

_BUCKET: Final = 2**25
"""Bytes of gradients that travel together; many small messages would each wait for the network."""

_SLURM: Final = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}


class PeerError(ModRWKVError):
    """Another process of the run failed; its own message says why."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run; a single one is a world, too, in which nothing travels.

    Attributes:
        rank: This process, from 0.
        size: The number of processes.
        device: Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def mesh(self) -> DeviceMesh:
        """Return all processes in one dimension."""
        return init_device_mesh(self.device.type, (self.size,))

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor of every process; a tensor on the CPU waits for no GPU.

        Raises:
            PeerError: Another process is gone.
        """
        if self.size == 1:
            return tensor
        total = tensor.clone()
        with _peers():
            dist.all_reduce(total)
        return total

    def max(self, value: float) -> float:
        """Return the largest value of all processes.

        Raises:
            PeerError: Another process is gone.
        """
        return float(max(self.gather(value)))

    def gather(self, value: Any) -> list[Any]:
        """Return the value of every process, by rank; it is pickled.

        Raises:
            PeerError: Another process is gone.
        """
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with _peers():
            dist.all_gather_object(values, value)
        return values

    def broadcast(self, module: nn.Module) -> None:
        """Give all processes the parameters and buffers of the first.

        Raises:
            PeerError: Another process is gone.
        """
        if self.size > 1:
            with torch.no_grad(), _peers():
                for tensor in (*module.parameters(), *module.buffers()):
                    dist.broadcast(tensor, 0)

    def sum_gradients(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Replace the gradients of parameters by their sums over all processes; a missing one counts as zero.

        Raises:
            PeerError: Another process is gone.
        """
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        size = 0
        for parameter in parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if bucket and (bucket[0].dtype != parameter.grad.dtype or size >= _BUCKET):
                self._sum_bucket(bucket)
                bucket, size = [], 0
            bucket.append(parameter.grad)
            size += parameter.grad.nbytes
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _peers():
            dist.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Collect tensors that are sharded over the processes: on the first, the whole tensors on its CPU.

        On the others the values are not to be used. Every process must call this with the same names.
        """
        whole = {}
        for name, tensor in tensors.items():
            if isinstance(tensor, DTensor):
                with _peers():
                    tensor = tensor.full_tensor()
                tensor = tensor.cpu() if self.is_main else tensor.new_empty(0)
            whole[name] = tensor
        return whole


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes of the run, if a launcher started several: torchrun, SLURM, or ``--devices``.

    Args:
        device: Where to train; of ``cuda``, each process takes the GPU of its number on the machine.

    Raises:
        ModRWKVError: The launcher's settings are incomplete, or the processes do not find each other.
    """
    places = _places()
    if places is None:
        yield World(0, 1, torch.device(device))
        return
    rank, size, local = places
    chosen = torch.device(device)
    if chosen.type == "cuda" and chosen.index is None:
        if local >= torch.cuda.device_count():
            raise ModRWKVError(
                f"process {rank} is number {local} on its machine, which has {torch.cuda.device_count()} GPUs",
                hint="start one process for each GPU",
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise ModRWKVError(
            f"process {rank} of {size} cannot join the others: {str(error).partition(chr(10))[0]}",
            hint="set MASTER_ADDR and MASTER_PORT to a free port of the first machine, the same everywhere",
        ) from error
    try:
        yield World(rank, size, chosen)
    finally:
        dist.destroy_process_group()


def _places() -> tuple[int, int, int] | None:
    """Return rank, number of processes, and number on this machine, as the launcher says; None without one."""
    names = {name: name for name in _SLURM}
    if "WORLD_SIZE" not in os.environ:
        # A shell within a SLURM allocation has the number of tasks, too, but is none of them.
        if int(os.environ.get("SLURM_NTASKS", "1")) == 1 or "SLURM_STEP_ID" not in os.environ:
            return None
        names = _SLURM
    try:
        rank, size, local = (int(os.environ[names[name]]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise ModRWKVError(
            f"the environment says that several processes train, but not which this is: {error}",
            hint="start them with `modrwkv train --devices N`, torchrun or srun",
        ) from error
    return None if size == 1 else (rank, size, local)


@contextmanager
def _peers() -> Iterator[None]:
    """Say plainly that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            f"another process of this run has ended: {str(error).partition(chr(10))[0]}",
            hint="its own message says why",
        ) from error
