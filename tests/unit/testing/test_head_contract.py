from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from modrwkv_core.interfaces.component import Backbone, Head
from modrwkv_core.interfaces.config import HeadConfig
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import HeadContract

Broken = Callable[[type[Any]], set[str]]


class ToyConfig(HeadConfig):
    type: Literal["toy"] = "toy"


class ToyHead(Head[ToyConfig, Tensor]):
    """Foretells a number."""

    def __init__(self, config: ToyConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.linear = nn.Linear(backbone.hidden_size, 1)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return (self.linear(hidden)[:, 0] - targets).square().mean()


class Summing(ToyHead):
    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return super().loss(hidden, targets) * len(targets)


class Unreduced(ToyHead):
    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return (self.linear(hidden)[:, 0] - targets).square()


class Detached(ToyHead):
    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return super().loss(hidden.detach(), targets)


class FirstOnly(ToyHead):
    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return super().loss(hidden[:1], targets[:1])


class OwnsTheBackbone(ToyHead):
    def __init__(self, config: ToyConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.backbone = backbone

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        everything = torch.cat([parameter.flatten() for parameter in self.backbone.parameters()])
        return super().loss(hidden, targets) + everything.square().mean()


def contract(head: type[ToyHead]) -> type[HeadContract]:
    class Contract(HeadContract):
        plugin = __name__
        name = "toy"
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="head",
            name="toy",
            summary="a number",
            config=f"{__name__}:ToyConfig",
            implementation=f"{__name__}:{head.__name__}",
        )

        def answers(self, config: ToyConfig) -> Tensor:
            return torch.tensor([1.0, -2.0, 0.5])

    return Contract


@pytest.mark.parametrize(
    ("head", "failures"),
    [
        (ToyHead, set()),
        (Summing, {"loss_is_the_mean_over_answers"}),
        (Detached, {"gradient_reaches_the_backbone"}),
        (FirstOnly, {"loss_is_the_mean_over_answers", "gradient_reaches_the_backbone"}),
        (OwnsTheBackbone, {"backbone_is_not_part_of_the_head"}),
    ],
)
def test_a_mistake_fails_its_check(broken: Broken, head: type[ToyHead], failures: set[str]) -> None:
    assert broken(contract(head)) == failures


def test_a_loss_that_is_no_scalar_is_found_out() -> None:
    with pytest.raises(AssertionError, match=r"the loss of toy has the shape \[3\]"):
        contract(Unreduced)().test_outputs_are_finite({})
