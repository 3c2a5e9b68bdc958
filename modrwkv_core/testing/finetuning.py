"""The contract of fine-tuning methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.config import FinetuningConfig
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.storage.tensors import read_tensors, write_tensors
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig
from modrwkv_core.testing.registration import ComponentContract, load

__all__ = ["FinetuningContract"]


class FinetuningContract(ComponentContract):
    """A fine-tuning method; a subclass sets ``plugin``, ``name`` and ``configs``."""

    kind: ClassVar = "finetuning"
    config_base: ClassVar = FinetuningConfig
    interface: ClassVar = FinetuningMethod

    def part(self, seed: int = 0) -> Component:
        """Return a part to train: by default a small backbone."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return FakeBackbone(FakeBackboneConfig(), 32)

    def method(self, settings: Mapping[str, Any]) -> FinetuningMethod[Any]:
        """Build it."""
        method: FinetuningMethod[Any] = load(self.spec.implementation)(self.config(settings))
        return method

    def test_parameters_that_learn_exist(self, settings: Mapping[str, Any]) -> None:
        """``trainable`` names parameters of the prepared part, and some.

        Remedy: return names as ``part.named_parameters()`` gives them.
        """
        method, part = self.method(settings), self.part()
        assert method.trainable(part), f"{self.name} trains nothing of a part that is not prepared"
        method.prepare(part)
        names = method.trainable(part)
        assert names, f"{self.name} trains nothing of a prepared part"
        unknown = names - {name for name, _ in part.named_parameters()}
        assert not unknown, f"{self.name} trains parameters that the part does not have: {sorted(unknown)[:4]}"

    def test_preparing_twice_changes_nothing(self, settings: Mapping[str, Any]) -> None:
        """A part that is prepared already is left alone: several phases may train it in the same way.

        Remedy: look for what the method adds before adding it.
        """
        method, part = self.method(settings), self.part()
        method.prepare(part)
        before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
        method.prepare(part)
        after = part.state_dict()
        assert before.keys() == after.keys(), f"{self.name} adds parameters again"
        assert all(torch.equal(before[name], after[name]) for name in before), f"{self.name} changes weights again"

    def test_saved_tensors_fill_a_new_part(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """What ``state_dict`` gives, written and read, makes another prepared part of the same weights equal.

        Remedy: save all that learns, and whatever preparing draws at random.
        """
        method, part, other = self.method(settings), self.part(), self.part()
        for each in (part, other):
            method.prepare(each)
        learns = method.trainable(part)
        with torch.no_grad():
            for name, parameter in part.named_parameters():
                if name in learns:
                    parameter.add_(0.5)
        path = tmp_path / "part.safetensors"
        write_tensors(method.state_dict(part), path)
        method.load_state_dict(other, read_tensors(path), path)
        saved, loaded = part.state_dict(), other.state_dict()
        differing = sorted(name for name in saved if not torch.equal(saved[name], loaded[name]))
        assert not differing, f"{self.name} does not bring back {', '.join(differing[:4])}"

    def test_tensors_of_something_else_are_refused(self, settings: Mapping[str, Any]) -> None:
        """Missing tensors are a ``CheckpointError``.

        Remedy: load with ``modrwkv_core.interfaces.finetuning``'s own ``load_state_dict``, or as strictly.
        """
        method, part = self.method(settings), self.part()
        method.prepare(part)
        try:
            method.load_state_dict(part, {}, Path("nowhere"))
        except CheckpointError:
            return
        raise AssertionError(f"{self.name} loads a checkpoint without any tensors")
