"""The contract of heads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modrwkv_core.interfaces.component import Head
from modrwkv_core.interfaces.config import HeadConfig
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig
from modrwkv_core.testing.neural import SAME, NeuralContract, assert_near
from modrwkv_core.testing.registration import load

__all__ = ["HeadContract"]


class HeadContract(NeuralContract):
    """A head; a subclass sets ``plugin``, ``name`` and ``configs`` and says what answers to try.

    Attributes:
        hidden_size: D of the backbone to try it with.
        vocab_size: Ids of that backbone.
    """

    kind: ClassVar = "head"
    config_base: ClassVar = HeadConfig
    interface: ClassVar = Head

    hidden_size: ClassVar[int] = 16
    vocab_size: ClassVar[int] = 32

    backbone: FakeBackbone

    @abstractmethod
    def answers(self, config: Any) -> Sequence[Any]:
        """Return a few targets of ``loss``, of which any slice is also a target: a tensor of ids, or queries."""

    def build(self, config: Any) -> nn.Module:
        """Construct the head beside a small backbone, which is the same for all seeds: it is no part of the head."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.backbone = FakeBackbone(FakeBackboneConfig(hidden_size=self.hidden_size), self.vocab_size)
        head: nn.Module = load(self.spec.implementation)(config, self.backbone)
        return head

    def hidden(self, count: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Make ``count`` hidden vectors."""
        vectors = torch.randn(count, self.hidden_size, generator=torch.Generator().manual_seed(0))
        return vectors.to(device, dtype)

    def outputs(self, module: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Return the loss."""
        answers = self.answers(module.config)
        answers = answers.to(device) if isinstance(answers, Tensor) else answers
        self.backbone.to(device, dtype)
        loss: Tensor = module.loss(self.hidden(len(answers), dtype, device), answers)
        assert loss.shape == (), f"the loss of {self.name} has the shape {list(loss.shape)}, not that of a scalar"
        return loss

    def test_loss_is_the_mean_over_answers(self, settings: Mapping[str, Any]) -> None:
        """The loss of several answers is the mean of their losses.

        Remedy: average over answers, each with the same weight.
        """
        module = self.made(settings)
        answers = self.answers(module.config)
        hidden = self.hidden(len(answers))
        single = torch.stack([module.loss(hidden[i : i + 1], answers[i : i + 1]) for i in range(len(answers))])
        assert_near(self.outputs(module), single.mean(), SAME, f"the loss of {self.name} is not a mean over answers")

    def test_gradient_reaches_the_backbone(self, settings: Mapping[str, Any]) -> None:
        """The loss trains the backbone through every hidden vector.

        Remedy: use every hidden vector and ``detach`` none.
        """
        module = self.made(settings)
        answers = self.answers(module.config)
        hidden = self.hidden(len(answers)).requires_grad_()
        module.loss(hidden, answers).backward()
        assert hidden.grad is not None, f"the loss of {self.name} does not depend on the hidden vectors"
        assert (hidden.grad.abs().amax(dim=1) > 0).all(), f"the loss of {self.name} ignores some hidden vectors"

    def test_backbone_is_not_part_of_the_head(self, settings: Mapping[str, Any]) -> None:
        """The backbone is saved and trained once, not again as a submodule of the head.

        Remedy: keep a bound method of the backbone, not the module.
        """
        held = [name for name, child in self.made(settings).named_modules() if isinstance(child, FakeBackbone)]
        assert not held, f"{self.name} holds the backbone as its submodule {held[0]}; keep a bound method instead"
